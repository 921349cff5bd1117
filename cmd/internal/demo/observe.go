package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// awaitServers returns when every host is AVAILABLE, and learns their ids.
func (s *stage) awaitServers(ctx context.Context) error {
	return s.await(ctx, "the agents", func(ctx context.Context) error {
		var answer struct{ Servers []server }
		if err := s.api.call(ctx, http.MethodPost, "/describeServers", nil, &answer); err != nil {
			return err
		}
		s.servers = map[string]string{}
		for _, server := range answer.Servers {
			if server.Availability == "AVAILABLE" || server.isFull() {
				s.servers[server.ID] = server.tag("host")
			}
		}
		if len(s.servers) != len(s.hosts) {
			return fmt.Errorf("%d of %d servers are up", len(s.servers), len(s.hosts))
		}
		return nil
	})
}

// awaitAgents returns when every agent does what the broker asks: only that proves
// that it is back, because a restarted broker knows its servers before they call.
func (s *stage) awaitAgents(ctx context.Context) error {
	return s.await(ctx, "the agents to come back", func(ctx context.Context) error {
		_, err := s.images(ctx, 64, 64, s.sessions...)
		return err
	})
}

// images takes a screenshot of each session.
func (s *stage) images(ctx context.Context, width, height int, of ...session) ([][]byte, error) {
	var requests []screenshotRequest
	for _, session := range of {
		requests = append(requests, screenshotRequest{session.ID, width, height})
	}
	var answer screenshotAnswer
	if err := s.api.call(ctx, http.MethodPost, "/getSessionScreenshots", requests, &answer); err != nil {
		return nil, err
	}
	for _, refused := range answer.UnsuccessfulList {
		return nil, errors.New(refused.FailureReason)
	}
	var images [][]byte
	for _, taken := range answer.SuccessfulList {
		for _, image := range taken.SessionScreenshot.Images {
			if image.Primary {
				images = append(images, image.Data)
			}
		}
	}
	if len(images) != len(of) {
		return nil, fmt.Errorf("%d images of %d sessions", len(images), len(of))
	}
	return images, nil
}

// awaitSessions returns when all sessions are in the state, and learns the rest of them.
func (s *stage) awaitSessions(ctx context.Context, state string) error {
	return s.await(ctx, "the sessions to be "+state, func(ctx context.Context) error {
		now, err := s.describe(ctx)
		if err != nil {
			return err
		}
		for i, old := range s.sessions {
			session, ok := now[old.ID]
			if !ok {
				return fmt.Errorf("session %s is unknown", old.Name)
			}
			if session.State != state {
				return fmt.Errorf("session %s is %s %s", old.Name, session.State, session.StateReason)
			}
			s.sessions[i] = session
		}
		return nil
	})
}

// awaitConnections returns when the broker counts so many connections to the first session.
func (s *stage) awaitConnections(ctx context.Context, want int) error {
	return s.await(ctx, "the connection to be counted", func(ctx context.Context) error {
		now, err := s.describe(ctx)
		if err != nil {
			return err
		}
		if have := now[s.sessions[0].ID].NumOfConnections; have != want {
			return fmt.Errorf("the broker counts %d connections", have)
		}
		return nil
	})
}

// describe returns the demonstration's sessions by their ids.
func (s *stage) describe(ctx context.Context) (map[string]session, error) {
	var request struct {
		SessionIDs []string `json:"SessionIds"`
	}
	for _, session := range s.sessions {
		request.SessionIDs = append(request.SessionIDs, session.ID)
	}
	var answer struct{ Sessions []session }
	if err := s.api.call(ctx, http.MethodPost, "/describeSessions", request, &answer); err != nil {
		return nil, err
	}
	found := map[string]session{}
	for _, session := range answer.Sessions {
		found[session.ID] = session
	}
	return found, nil
}
