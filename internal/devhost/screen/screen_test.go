package screen_test

import (
	"bytes"
	"image"
	"os"
	"strings"
	"testing"
	"time"

	_ "image/jpeg"
	_ "image/png"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/internal/devhost/screen"
)

func desktop() screen.Desktop {
	return screen.Desktop{
		Displays: screen.DefaultLayout(), Host: "host-1", ID: "0f4e2c1a-7d40-4c7b-9b0c-2a6f3d0f8a11",
		Name: "Fluid dynamics", Owner: "olivia", Type: "virtual", Users: []string{"olivia", "tom"},
		Now: time.Date(2026, 8, 20, 10, 15, 31, 0, time.UTC),
	}
}

func painter(t testing.TB) *screen.Painter {
	p, err := screen.NewPainter()
	require.NoError(t, err)
	return p
}

// SCREEN_PICTURE=file.png go test ./internal/devhost/screen leaves a picture to look at.
func TestDraw_IsAPictureOfTheFormatAsked(t *testing.T) {
	t.Parallel()
	img := painter(t).Draw(desktop(), true)
	for _, format := range []string{screen.PNG, screen.JPEG} {
		data, err := screen.Encode(img, format)
		require.NoError(t, err)
		config, got, err := image.DecodeConfig(bytes.NewReader(data))
		require.NoError(t, err)
		require.Equal(t, format, got)
		require.Equal(t, []int{1920, 1080}, []int{config.Width, config.Height})
		if file := os.Getenv("SCREEN_PICTURE"); file != "" && format == screen.PNG {
			require.NoError(t, os.WriteFile(file, data, 0o600))
		}
	}
	_, err := screen.Encode(img, "gif")
	require.ErrorIs(t, err, screen.ErrFormat)
}

func TestDraw_ChangesWithWhatThereIsToSee(t *testing.T) {
	t.Parallel()
	p, d := painter(t), desktop()
	before := p.Draw(d, true)
	d.Users = append(d.Users, "jane")
	require.NotEqual(t, before.Pix, p.Draw(d, true).Pix)
	d.Blank = true
	blank := p.Draw(d, true)
	require.Equal(t, bytes.Repeat([]byte{0, 0, 0, 255}, 1920*1080), blank.Pix)
}

func TestDraw_AllDisplaysOrThePrimary(t *testing.T) {
	t.Parallel()
	p, d := painter(t), desktop()
	var err error
	d.Displays, err = screen.ParseLayout("800x600+0+0,640x480-640+0")
	require.NoError(t, err)
	require.Equal(t, image.Pt(1440, 600), p.Draw(d, false).Bounds().Size())
	require.Equal(t, image.Pt(800, 600), p.Draw(d, true).Bounds().Size())
}

// Expectation F45: a huge or odd screen and hostile names still give a picture.
func TestDraw_SurvivesOddDesktops(t *testing.T) {
	t.Parallel()
	p := painter(t)
	for _, layout := range []string{"64x64", "8192x64", "64x8192", "4096x4096"} {
		d := desktop()
		var err error
		d.Displays, err = screen.ParseLayout(layout)
		require.NoError(t, err)
		d.Name, d.Owner, d.ID = strings.Repeat("W", 5000), "\x00\xff\u202e", ""
		d.Users = append(d.Users, "", "\xff", strings.Repeat("x", 3000), "a", "b", "c", "d", "e", "f", "g", "h", "i")
		require.NotPanics(t, func() { p.Draw(d, false) }, layout)
	}
}

func TestFit_KeepsTheAspectAndNeverEnlarges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 300)
		src := image.NewRGBA(image.Rect(0, 0, side.Draw(t, "w"), side.Draw(t, "h")))
		limit := rapid.IntRange(0, 400)
		maxW, maxH := limit.Draw(t, "maxW"), limit.Draw(t, "maxH")
		got := screen.Fit(src, maxW, maxH).Bounds()
		require.False(t, maxW > 0 && got.Dx() > maxW || maxH > 0 && got.Dy() > maxH)
		require.LessOrEqual(t, got.Dx(), src.Bounds().Dx())
		require.LessOrEqual(t, got.Dy(), src.Bounds().Dy())
		// Same aspect, but for rounding down to whole pixels.
		cross := got.Dx()*src.Bounds().Dy() - got.Dy()*src.Bounds().Dx()
		require.LessOrEqual(t, max(cross, -cross), max(src.Bounds().Dx(), src.Bounds().Dy()))
	})
}

func TestParseLayout(t *testing.T) {
	t.Parallel()
	displays, err := screen.ParseLayout("1920x1080, 1024x768-1024+0")
	require.NoError(t, err)
	require.Equal(t, "1920x1080+0+0,1024x768-1024+0", screen.FormatLayout(displays))
	for _, bad := range []string{
		"", "1920", "1920x1080+0", "0x0", "99999x99999", "8192x8192", "a,b", "64x64,64x64,64x64,64x64,64x64",
		"64x64+0+0,64x64+60000+60000", strings.Repeat("64x64,", 100_000),
	} {
		_, err := screen.ParseLayout(bad)
		require.ErrorIs(t, err, screen.ErrLayout, "%.40q", bad)
	}
}

func FuzzParseLayout(f *testing.F) {
	f.Add("1920x1080+0+0,800x600+1920+0")
	f.Add("64x64-1-1")
	f.Fuzz(func(t *testing.T, descriptor string) {
		displays, err := screen.ParseLayout(descriptor)
		if err != nil {
			require.ErrorIs(t, err, screen.ErrLayout)
			return
		}
		again, err := screen.ParseLayout(screen.FormatLayout(displays))
		require.NoError(t, err)
		require.Equal(t, displays, again)
	})
}
