package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"opensessionmanager/cmd/dcvsm/internal/api"
	"opensessionmanager/cmd/dcvsm/internal/settings"
)

func (a App) screenshots(f *settings.Flags) *cobra.Command {
	var (
		ids           []string
		width, height int64
		folder        string
		cmd           *cobra.Command
	)
	cmd = a.command(f, "get-session-screenshots", "Get screenshots of sessions.",
		"  dcvsm get-session-screenshots --session-ids 6b1c6f2e-0c1f-4a3e-9d5b-0b9a2f7d8c11 --max-width 800 --save-to .",
		[]string{"session-ids"},
		func() (work, error) {
			size := api.ScreenshotRequest{}
			for name, option := range map[string]struct {
				value *int64
				to    **int64
			}{"max-width": {&width, &size.MaxWidth}, "max-height": {&height, &size.MaxHeight}} {
				if !cmd.Flags().Changed(name) {
					continue
				}
				if *option.value < 1 {
					return nil, valueError(name, "%d is not in the range x>=1.", *option.value)
				}
				*option.to = option.value
			}
			var in []api.ScreenshotRequest
			for i := range ids {
				in = append(in, api.ScreenshotRequest{SessionID: &ids[i], MaxWidth: size.MaxWidth, MaxHeight: size.MaxHeight})
			}
			return a.takeScreenshots(in, folder), nil
		})
	idsFlag(cmd.Flags(), &ids, "session-ids", "`ID,ID` The sessions. [required]")
	cmd.Flags().Int64Var(&width, "max-width", 0, "`PIXELS` Greatest width.")
	cmd.Flags().Int64Var(&height, "max-height", 0, "`PIXELS` Greatest height.")
	cmd.Flags().StringVar(&folder, "save-to", "", "`FOLDER` Write the images there and leave them out of the answer.")
	return cmd
}

func (a App) takeScreenshots(in []api.ScreenshotRequest, folder string) work {
	return func(ctx context.Context, c *api.Client) (any, error) {
		answer, err := c.Screenshots(ctx, in)
		if err != nil || folder == "" {
			return answer, err
		}
		return answer, a.saveImages(folder, answer)
	}
}

// saveImages writes each image to a file and removes it from the answer. The names
// come from the broker, so nothing outside the folder can be reached.
func (a App) saveImages(folder string, answer *api.ScreenshotsAnswer) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return valueError("save-to", "%w", err)
	}
	defer root.Close()
	for _, item := range answer.SuccessfulList {
		if item.SessionScreenshot == nil {
			continue
		}
		for i := range item.SessionScreenshot.Images {
			image := &item.SessionScreenshot.Images[i]
			name := fmt.Sprintf("%s-%d.%s", fileName(api.Text(item.SessionScreenshot.SessionID)), i+1, fileName(api.Text(image.Format)))
			data, err := base64.StdEncoding.DecodeString(api.Text(image.Data))
			if err != nil {
				return fmt.Errorf("%w: image %s is not base64", api.ErrAnswer, name)
			}
			if err := root.WriteFile(name, data, 0o600); err != nil {
				return err
			}
			image.Data = nil
			fmt.Fprintf(a.Stderr, "Saved %s (%d bytes)\n", name, len(data))
		}
	}
	return nil
}

// fileName keeps the characters that are harmless in a file name.
func fileName(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, text[:min(len(text), 100)])
	if clean == "" {
		return "image"
	}
	return clean
}
