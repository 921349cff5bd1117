package admin

import (
	"context"
	"math"
	"time"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/oauth"
	"opensessionmanager/internal/enrolment"
)

// enrolmentCommands are ours: the vendor has software statements only.
func enrolmentCommands(cfg Config) map[string]command {
	agents, enrolments := cfg.OAuth.Agents(), cfg.OAuth.Enrolments()
	return map[string]command{
		"generate-enrolment-token": typed(func(ctx context.Context, in adminclient.GenerateEnrolment) (adminclient.EnrolmentToken, error) {
			if in.ValidSeconds > math.MaxInt32 { // else it overflows
				return adminclient.EnrolmentToken{}, oauth.ErrEnrolmentBounds
			}
			authority, err := cfg.Authority()
			if err != nil {
				return adminclient.EnrolmentToken{}, err
			}
			text, made, err := enrolments.Generate(ctx, time.Duration(in.ValidSeconds)*time.Second, in.Uses, enrolment.Of(authority))
			return adminclient.EnrolmentToken{Text: text, Enrolment: adminclient.Enrolment(made)}, err
		}),
		"describe-enrolment-tokens": typed(func(ctx context.Context, _ adminclient.Empty) (adminclient.Enrolments, error) {
			all, err := enrolments.Describe(ctx)
			list := adminclient.Enrolments{Enrolments: make([]adminclient.Enrolment, len(all))}
			for i, e := range all {
				list.Enrolments[i] = adminclient.Enrolment(e)
			}
			return list, err
		}),
		"revoke-enrolment-token": typed(func(ctx context.Context, in adminclient.RevokeEnrolment) (adminclient.Count, error) {
			err := enrolments.Revoke(ctx, in.ID)
			if err != nil || !in.WithAgents {
				return adminclient.Count{}, err
			}
			n, err := agents.UnregisterAll(ctx, in.ID)
			return adminclient.Count{Count: n}, err
		}),
	}
}
