package devhost

import (
	"errors"
	"image"
	"strings"

	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/screen"
)

const maxScreenshotSide = 1 << 16 // pixels

// getScreenshot is `dcv get-screenshot`: one picture, of the primary display or of
// all displays combined.
func (h *Host) getScreenshot(id string, r *control.ScreenshotRequest) (control.Answer, error) {
	if r == nil {
		r = &control.ScreenshotRequest{}
	}
	format := strings.ToLower(r.Format)
	switch format {
	case "":
		format = screen.PNG
	case "jpg":
		format = screen.JPEG
	case screen.PNG, screen.JPEG:
	default:
		return control.Answer{}, screen.ErrFormat
	}
	if min(r.MaxWidth, r.MaxHeight) < 0 || max(r.MaxWidth, r.MaxHeight) > maxScreenshotSide {
		return control.Answer{}, errors.New("the size is out of range")
	}
	data, err := h.picture(id, r.Primary, r.MaxWidth, r.MaxHeight, format)
	if err != nil {
		return control.Answer{}, err
	}
	return control.Answer{Image: &control.Image{Format: format, Base64: data}}, nil
}

// picture draws a session. Only few are drawn at a time, the others wait.
func (h *Host) picture(id string, primary bool, maxWidth, maxHeight int, format string) ([]byte, error) {
	select {
	case h.drawing <- struct{}{}:
		defer func() { <-h.drawing }()
	case <-h.life.Done():
		return nil, errNotRunning
	}
	_, blank := h.take(control.Blank, control.GetScreenshot)
	h.mu.Lock()
	s, ok := h.sessions[id]
	if !ok {
		h.mu.Unlock()
		return nil, errNoSession(id)
	}
	desktop := screen.Desktop{
		Displays: append([]image.Rectangle(nil), s.layout...), Host: h.info.Name, ID: s.ID, Name: s.Name, Owner: s.Owner,
		Type: s.Type, Users: s.users(), Now: h.cfg.Now(), Blank: blank,
	}
	h.mu.Unlock()
	return screen.Encode(screen.Fit(h.painter.Draw(desktop, primary), maxWidth, maxHeight), format)
}
