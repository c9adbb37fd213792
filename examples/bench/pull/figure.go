//go:build linux

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	plotfont "gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The three differ in lightness too, so that they are told apart with any colour vision, and in print.
var (
	sending = color.RGBA{0xC4, 0xC4, 0xC4, 255}
	vain    = color.RGBA{0x56, 0xB4, 0xE9, 255}
	losing  = color.RGBA{0xB0, 0x35, 0x00, 255}
)

const barHeight = 0.8 // of a row

// segment is a part of a bar, in seconds after the pull.
type segment struct {
	from, to float64
	color    color.Color
}

// segments are what a node went through until nobody came any more and nobody waited.
func (r result) segments() []segment {
	out, quit := r.out.Seconds(), r.quit.Seconds()
	if quit < out {
		return []segment{{0, quit, sending}, {quit, out, losing}}
	}
	return []segment{{0, out, sending}, {out, quit, vain}}
}

func sans(size vg.Length, weight font.Weight) plotfont.Font {
	return plotfont.Font{Typeface: "Liberation", Variant: "Sans", Size: size, Weight: weight}
}

// draw writes the figure: two bars for each cell, one for each way, from the top to the bottom.
func draw(w io.Writer, ps []pair) error {
	p := plot.New()
	p.Title.Text = "A node behind HAProxy is pulled at 0 s and stopped: " +
		"with drain when its probers have noticed, or after a sleep"
	p.Title.TextStyle.Font = sans(12, font.WeightBold)
	p.Title.Padding = 10
	p.X.Label.Text = "seconds after the pull"
	p.Y.Label.Text = "probe interval × failures until HAProxy takes a node out"
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font = sans(11, font.WeightNormal)
		axis.Tick.Label.Font = sans(11, font.WeightNormal)
		axis.Label.Padding = 6
	}
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
	grid := plotter.NewGrid()
	grid.Horizontal.Color = nil
	p.Add(grid)

	var rows []plot.Tick
	var end float64
	marks := plotter.XYLabels{}
	y := float64(3 * len(ps)) // two rows and a gap for each cell
	for _, pr := range ps {
		for i, r := range []result{pr.aware, pr.slept} {
			y--
			name := fmt.Sprintf("sleep %v", pr.sleep)
			if i == 0 {
				name = fmt.Sprintf("%v\u00a0\u00a0\u00a0drain", pr.cell)
			}
			rows = append(rows, plot.Tick{Value: y, Label: name})
			for _, s := range r.segments() {
				if err := bar(p, y, s); err != nil {
					return err
				}
			}
			until := math.Max(r.out.Seconds(), r.quit.Seconds())
			end = math.Max(end, until)
			marks.XYs = append(marks.XYs, plotter.XY{X: until, Y: y})
			marks.Labels = append(marks.Labels, fmt.Sprintf("%d lost", r.lost))
		}
		y--
	}
	p.Y.Tick.Marker = plot.ConstantTicks(rows)
	p.Y.Min, p.Y.Max = 0, float64(3*len(ps))
	p.X.Min, p.X.Max = 0, math.Ceil(end*1.08)
	p.X.Tick.Marker = plot.TickerFunc(seconds)

	labels, err := plotter.NewLabels(marks)
	if err != nil {
		return err
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i].Font = sans(10, font.WeightNormal)
		labels.TextStyle[i].YAlign = -0.45
		if marks.Labels[i] != "0 lost" {
			labels.TextStyle[i].Font = sans(10, font.WeightBold)
		}
	}
	labels.Offset.X = 4
	p.Add(labels)

	p.Legend.Top = true
	p.Legend.TextStyle.Font = sans(11, font.WeightNormal)
	p.Legend.ThumbnailWidth, p.Legend.Padding = 22, 6
	for _, l := range []struct {
		text  string
		color color.Color
	}{
		{"HAProxy still sends requests, the node serves them", sending},
		{"the node still waits though HAProxy has taken it out", vain},
		{"the node no longer accepts, HAProxy still sends: requests are lost", losing},
	} {
		thumb, err := plotter.NewPolygon(plotter.XYs{{}})
		if err != nil {
			return err
		}
		thumb.Color, thumb.LineStyle.Width = l.color, 0
		p.Legend.Add(l.text, thumb)
	}

	c := vgsvg.New(900, 580)
	p.Draw(vgdraw.Crop(vgdraw.New(c), 10, -10, 10, -12))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	// Who does not have the font has one with the same widths.
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	_, err = w.Write(svg)
	return err
}

// bar adds a segment to the row at y.
func bar(p *plot.Plot, y float64, s segment) error {
	low, high := y-barHeight/2, y+barHeight/2
	area, err := plotter.NewPolygon(plotter.XYs{{X: s.from, Y: low}, {X: s.to, Y: low}, {X: s.to, Y: high},
		{X: s.from, Y: high}})
	if err != nil {
		return err
	}
	area.Color, area.LineStyle.Width = s.color, 0
	p.Add(area)
	return nil
}

// seconds are the ticks of the axis: every fifth, and every tenth with its number; each one where there are few.
func seconds(_, end float64) (ticks []plot.Tick) {
	step := 5.0
	if end < 20 {
		step = 1
	}
	for i := 0; step*float64(i) <= end; i++ {
		tick := plot.Tick{Value: step * float64(i)}
		if step == 1 || i%2 == 0 {
			tick.Label = fmt.Sprint(tick.Value)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}
