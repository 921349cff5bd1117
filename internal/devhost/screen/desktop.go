package screen

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"strings"
	"time"
)

// Desktop is what there is to see.
type Desktop struct {
	Displays []image.Rectangle // at least one; the first is the primary
	Host     string
	ID       string
	Name     string
	Owner    string
	Type     string
	Users    []string // connected now
	Now      time.Time
	Blank    bool // the screen is off
}

// Draw paints all displays side by side as the layout says, or the primary one
// alone. Pixels that belong to no display are black.
func (p *Painter) Draw(d Desktop, primaryOnly bool) *image.RGBA {
	displays := d.Displays
	if primaryOnly {
		displays = displays[:1]
	}
	var all image.Rectangle
	for _, display := range displays {
		all = all.Union(display)
	}
	img := image.NewRGBA(all)
	draw.Draw(img, all, image.Black, image.Point{}, draw.Src)
	if d.Blank {
		return img
	}
	for i, display := range displays {
		c := p.canvas(img, display)
		c.background()
		c.panel(d)
		if i == 0 {
			c.window(d)
		} else {
			c.text(style{34, true, light(120)}, fmt.Sprintf("Display %d", i+1), c.width()/2, c.height()/2, c.width(), 0.5)
		}
	}
	return img
}

func light(alpha uint8) color.NRGBA { return color.NRGBA{255, 255, 255, alpha} }
func ink(alpha uint8) color.NRGBA   { return color.NRGBA{16, 24, 40, alpha} }

func (c *canvas) background() {
	c.gradient(color.RGBA{24, 44, 92, 255}, color.RGBA{38, 128, 139, 255})
	w, h := c.width(), c.height()
	for _, hill := range []struct{ left, middle, right float64 }{{0.62, 0.30, 0.78}, {0.86, 0.52, 0.60}, {0.80, 1.02, 0.84}} {
		c.fill(light(14), 0, 0, w, h, func(p *path) {
			p.move(0, h*hill.left)
			p.curve(w*0.3, h*hill.middle, w*0.6, h*(hill.middle+0.45), w, h*hill.right)
			p.line(w, h)
			p.line(0, h)
			p.r.ClosePath()
		})
	}
}

// panel is the bar at the top: host, clock, number of users.
func (c *canvas) panel(d Desktop) {
	const height = 44
	c.rounded(ink(150), -20, -20, c.width()+40, height+20, 4)
	third := c.width() / 3
	c.text(style{20, true, light(230)}, d.Host, 24, 29, third-40, 0)
	c.text(style{20, false, light(230)}, d.Now.UTC().Format("Mon 2 Jan  15:04:05 UTC"), c.width()/2, 29, third, 0.5)
	took := c.text(style{20, false, light(230)}, users(len(d.Users)), c.width()-24, 29, third-40, 1)
	c.circle(presence(d), c.width()-24-took-18, 22, 6)
}

func users(n int) string {
	if n == 1 {
		return "1 client"
	}
	return fmt.Sprintf("%d clients", n)
}

func presence(d Desktop) color.Color {
	if len(d.Users) == 0 {
		return light(90)
	}
	return color.NRGBA{74, 222, 128, 255}
}

// window tells whose session this is.
func (c *canvas) window(d Desktop) {
	const w, h, bar = 980, 600, 52
	x, y := (c.width()-w)/2, (c.height()-h)/2+22
	for i := range 12 { // a soft shadow
		spread := float64(i) * 3
		c.rounded(ink(9), x-spread, y-spread+14, w+2*spread, h+2*spread, 14+spread)
	}
	c.rounded(color.NRGBA{248, 250, 252, 255}, x, y, w, h, 14)
	c.rounded(color.NRGBA{226, 232, 240, 255}, x, y, w, bar, 14)
	c.rounded(color.NRGBA{226, 232, 240, 255}, x, y+bar-16, w, 16, 0)
	for i, col := range []color.NRGBA{{248, 113, 113, 255}, {251, 191, 36, 255}, {52, 211, 153, 255}} {
		c.circle(col, x+30+float64(i)*26, y+bar/2, 8)
	}
	c.text(style{20, false, ink(190)}, "DCV stand-in host", x+w/2, y+33, w-240, 0.5)

	name := d.Name
	if name == "" {
		name = d.ID
	}
	c.text(style{50, true, ink(255)}, name, x+48, y+128, w-96, 0)
	c.text(style{20, false, ink(130)}, d.ID, x+48, y+164, w-96, 0)
	for i, row := range [][2]string{{"Owner", d.Owner}, {"Type", d.Type}, {"Screens", FormatLayout(d.Displays)},
		{"Time", d.Now.UTC().Format(time.RFC3339)}} {
		line := y + 232 + float64(i)*46
		c.text(style{24, false, ink(130)}, row[0], x+48, line, 160, 0)
		c.text(style{24, false, ink(230)}, row[1], x+210, line, w-260, 0)
	}
	c.rounded(ink(24), x+48, y+408, w-96, 2, 0)
	c.chips(d.Users, x+48, y+436, w-96)
}

// chips shows who is connected, as many as have room in two lines.
func (c *canvas) chips(names []string, x, y, width float64) {
	if len(names) == 0 {
		c.text(style{22, false, ink(120)}, "Nobody is connected.", x, y+36, width, 0)
		return
	}
	const height, gap, widest = 52, 14, 260
	left, rows := x, 1
	for i, name := range names {
		if left+widest > x+width {
			left, rows = x, rows+1
		}
		top := y + float64(rows-1)*(height+gap)
		if rows == 2 && left+2*widest > x+width && i < len(names)-1 {
			c.text(style{22, false, ink(150)}, fmt.Sprintf("and %d more", len(names)-i), left, top+34, widest, 0)
			return
		}
		took := c.chip(name, left, top, widest)
		left += took + gap
	}
}

func (c *canvas) chip(name string, x, y, widest float64) float64 {
	const height = 52
	label := style{22, false, ink(230)}
	face := c.face(label)
	if face == nil {
		return 0
	}
	defer face.Close()
	took := min(widest, 84+measure(face, printable(name))/c.unit)
	c.rounded(color.NRGBA{224, 242, 241, 255}, x, y, took, height, height/2)
	c.circle(tint(name), x+height/2, y+height/2, 19)
	initial := strings.ToUpper(string([]rune(printable(name) + " ")[0]))
	c.text(style{20, true, light(255)}, initial, x+height/2, y+33, 40, 0.5)
	c.text(label, name, x+58, y+34, widest-84, 0)
	return took
}

// tint gives a person the same colour every time.
func tint(name string) color.Color {
	sum := 0
	for _, b := range []byte(name) {
		sum = (sum*31 + int(b)) % 5
	}
	return []color.NRGBA{{15, 118, 110, 255}, {30, 64, 175, 255}, {124, 58, 237, 255}, {190, 24, 93, 255}, {180, 83, 9, 255}}[sum]
}
