package screen

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
)

// The formats of a screenshot.
const (
	PNG  = "png"
	JPEG = "jpeg"
)

// ErrFormat reports a format that is neither PNG nor JPEG.
var ErrFormat = errors.New("screen: format must be png or jpeg")

func measure(face font.Face, s string) float64 { return float64(font.MeasureString(face, s)) / 64 }

// Fit makes a picture small enough to lie within the given number of pixels,
// keeping its aspect. It never enlarges; 0 means no limit.
func Fit(src *image.RGBA, maxWidth, maxHeight int) *image.RGBA {
	w, h := src.Bounds().Dx(), src.Bounds().Dy()
	scale := 1.0
	if maxWidth > 0 {
		scale = min(scale, float64(maxWidth)/float64(w))
	}
	if maxHeight > 0 {
		scale = min(scale, float64(maxHeight)/float64(h))
	}
	if scale == 1 {
		return src
	}
	dst := image.NewRGBA(image.Rect(0, 0, max(1, int(float64(w)*scale)), max(1, int(float64(h)*scale))))
	draw.CatmullRom.Scale(dst, dst.Bounds(), src, src.Bounds(), draw.Src, nil)
	return dst
}

// Encode writes a picture in one of the formats.
func Encode(img image.Image, format string) ([]byte, error) {
	var out bytes.Buffer
	var err error
	switch format {
	case PNG:
		err = (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&out, img)
	case JPEG:
		err = jpeg.Encode(&out, img, &jpeg.Options{Quality: 88})
	default:
		return nil, ErrFormat
	}
	if err != nil {
		return nil, fmt.Errorf("screen: encode %s: %w", format, err)
	}
	return out.Bytes(), nil
}
