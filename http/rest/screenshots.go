package rest

import (
	"context"
	"encoding/base64"
	"math"
	"slices"
	"time"

	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// imageOverhead is more than the JSON around one image needs, in bytes.
const imageOverhead = 256

// sessionScreenshots takes pictures of sessions (contract section 1.9). They are
// taken in batches, so that one request cannot fill the memory: when the answer
// is full or the time is over, what is left fails item by item and can be asked for
// again.
func (s *Server) sessionScreenshots(c *call, in *[]screenshotRequest) error {
	ctx, cancel := s.deadline()
	defer cancel()
	items := *in
	room := s.opt.MaxScreenshotAnswer
	outcomes := dispatch(items, s.screenshotCommand,
		func(commands []*messages.TakeScreenshot) []*messages.SessionResult {
			return s.takeScreenshots(ctx, commands, &room)
		})
	return answerItems(c, outcomes,
		func(i int) audit.Event { return audit.Event{Session: items[i].SessionID} },
		func(b []byte, i int, r *messages.SessionResult) []byte {
			return appendScreenshot(b, items[i].SessionID, r.GetScreenshot())
		},
		func(b []byte, i int) []byte { return appendEcho(b, "GetSessionScreenshotRequestData", &items[i]) })
}

func (s *Server) screenshotCommand(_ int, item *screenshotRequest) (*messages.TakeScreenshot, *messages.Refusal) {
	switch {
	case item.SessionID == "":
		return nil, badItem("SessionId is required")
	case !plausible(item.SessionID):
		return nil, &messages.Refusal{Code: messages.CodeSessionNotFound}
	case item.MaxWidth != nil && *item.MaxWidth < 1:
		return nil, badItem("MaxWidth must be at least 1")
	case item.MaxHeight != nil && *item.MaxHeight < 1:
		return nil, badItem("MaxHeight must be at least 1")
	}
	return &messages.TakeScreenshot{
		SessionId: item.SessionID,
		MaxWidth:  pixels(item.MaxWidth, s.opt.ScreenshotMaxWidth),
		MaxHeight: pixels(item.MaxHeight, s.opt.ScreenshotMaxHeight),
		Format:    s.opt.ScreenshotFormat,
	}, nil
}

// pixels is the size to ask for. No display is larger than the bound, and the
// agent's protocol has 32 bits for it.
func pixels(asked *int64, fallback int64) int64 {
	if asked == nil {
		return fallback
	}
	return min(*asked, math.MaxInt16)
}

// takeScreenshots takes batch by batch. A batch that could not be over in the time left,
// going by those before it, is not begun: an agent must not work for nobody.
func (s *Server) takeScreenshots(ctx context.Context, commands []*messages.TakeScreenshot, room *int) []*messages.SessionResult {
	results := make([]*messages.SessionResult, 0, len(commands))
	var longest time.Duration
	for batch := range slices.Chunk(commands, s.opt.ScreenshotBatch) {
		switch {
		case *room <= 0:
			results = append(results, slices.Repeat([]*messages.SessionResult{noRoom()}, len(batch))...)
			continue
		case !timeFor(ctx, longest):
			results = append(results, slices.Repeat([]*messages.SessionResult{noTime()}, len(batch))...)
			continue
		}
		began := time.Now()
		taken := s.cfg.Fleet.TakeScreenshots(ctx, batch)
		longest = max(longest, time.Since(began))
		for n := range batch {
			results = append(results, fitScreenshot(taken, n, room))
		}
	}
	return results
}

func timeFor(ctx context.Context, need time.Duration) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() == nil && (!bounded || time.Until(deadline) >= need)
}

// fitScreenshot passes the n-th result on if the answer has room for it.
func fitScreenshot(taken []*messages.SessionResult, n int, room *int) *messages.SessionResult {
	if n >= len(taken) || taken[n].GetScreenshot() == nil {
		if n < len(taken) && taken[n].GetRefusal() != nil {
			return taken[n]
		}
		return nil
	}
	size := 0
	for _, image := range taken[n].GetScreenshot().GetImages() {
		size += base64.StdEncoding.EncodedLen(len(image.GetData())) + imageOverhead
	}
	if size > *room {
		return noRoom()
	}
	*room -= size
	return taken[n]
}

func noRoom() *messages.SessionResult {
	return busyScreenshot("The answer has no room for this screenshot; ask for fewer or smaller ones at once",
		"The screenshots of one request are larger than the broker sends in one answer")
}

func noTime() *messages.SessionResult {
	return busyScreenshot("There was no time left to take this screenshot; ask for fewer at once",
		"The screenshots asked for before this one took the time of the request; this one was not begun")
}

func busyScreenshot(text, detail string) *messages.SessionResult {
	return &messages.SessionResult{Outcome: &messages.SessionResult_Refusal{Refusal: &messages.Refusal{
		Code: messages.CodeBusy, Text: text, Detail: detail,
	}}}
}

func appendScreenshot(b []byte, sessionID string, shot *messages.Screenshot) []byte {
	b = append(appendName(b, "SessionScreenshot"), '{')
	b = appendText(b, "SessionId", sessionID)
	b = append(appendName(b, "Images"), '[')
	for _, image := range shot.GetImages() {
		b = append(b, '{')
		b = appendText(b, "Format", image.GetFormat())
		b = append(appendName(b, "Data"), '"')
		b = append(base64.StdEncoding.AppendEncode(b, image.GetData()), '"', ',')
		b = appendOptionalTime(b, "CreationTime", image.GetCreationUnixMs())
		b = append(appendName(b, "Primary"), boolText(image.GetPrimary())...)
		b = append(closeObject(b), ',')
	}
	return append(closeObject(append(closeArray(b), ',')), ',')
}

func boolText(v bool) string {
	if v {
		return "true"
	}
	return "false"
}
