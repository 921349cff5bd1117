package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/png" // screenshots are PNG by default
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// step is one thing to see: what is done, and the answer in one line.
type step struct {
	title string
	do    func(context.Context) (answer string, err error)
}

func (s *stage) oneBroker() performance {
	return performance{
		headline: "Open Session Manager: a broker, three simulated hosts, and sessions from birth to death",
		steps:    s.steps(),
		closing: []string{
			"You saw  sessions placed by what they require, a refusal that says why, a token checked by",
			"         the host, a live picture, and a broker that lost nothing when it was killed.",
			"Next     make demo DEMO_KEEP=1   leaves all this running, with a session for your browser",
			"         make demo-fleet         three brokers behind a load balancer, one of which dies",
			"         README.md               how it works",
			"         deploy/README.md        a broker as a service; deploy/CONFIG.md has every key",
			"         agent/README.md         the agent on a real DCV host",
		},
	}
}

func (s *stage) steps() []step {
	steps := []step{
		{"Start a broker with nothing configured but its ports", s.startBroker},
		{"Register a client of its API", s.registerClient},
		{"Start three simulated DCV hosts, each with the real agent", s.startHosts},
		{"Create three sessions that say what their server must be like", s.createSessions},
		{"Ask for one more than there is room for", s.createRefused},
		{"Connect to a session with a token from the broker", s.connect},
		{"Take a screenshot of the session", s.screenshot},
		{"Kill the broker, start it again, and look what is lost", s.crash},
	}
	if s.keep {
		return append(steps, step{"Everything keeps running: your turn", s.playground})
	}
	return append(steps, step{"Delete the sessions", s.deleteSessions})
}

func wanted() []sessionRequest {
	return []sessionRequest{
		{"modelling", "alice", "VIRTUAL", "tag:gpu = 'yes' and server:Host.Memory.TotalBytes > 100E6"},
		{"drawing", "bob", "VIRTUAL", "tag:team = 'design' and not tag:gpu = 'yes'"},
		{"statistics", "carol", "VIRTUAL", "tag:team = 'research'"},
	}
}

func (s *stage) createSessions(ctx context.Context) (string, error) {
	body, err := json.Marshal(wanted())
	if err != nil {
		return "", err
	}
	if err := s.write("sessions.json", string(body)); err != nil {
		return "", err
	}
	s.command(s.curl("/createSessions"), "-H 'Content-Type: application/json' -d @"+s.path("sessions.json"))
	first := wanted()[0]
	s.note("%s", s.in(dim, "or, for each:"))
	s.command(s.dcvsm("create-session"), "--name "+first.Name+" --owner "+first.Owner+" --type Virtual", fmt.Sprintf("--requirements %q", first.Requirements))
	var answer createAnswer
	if err := s.api.call(ctx, http.MethodPost, "/createSessions?explain=true", wanted(), &answer); err != nil {
		return "", err
	}
	for _, refused := range answer.UnsuccessfulList {
		return "", fmt.Errorf("a session was refused: %s: %s", refused.FailureReason, refused.FailureDetails.Detail)
	}
	s.sessions = answer.SuccessfulList
	if err := s.awaitSessions(ctx, "READY"); err != nil {
		return "", err
	}
	for i, session := range s.sessions {
		s.note("%-10s of %-5s on %s   %s", session.Name, session.Owner, s.servers[session.Server.ID], s.in(dim, wanted()[i].Requirements))
	}
	return fmt.Sprintf("%d sessions READY", len(s.sessions)), nil
}

func (s *stage) createRefused(ctx context.Context) (string, error) {
	request := sessionRequest{"simulation", "dave", "VIRTUAL", "tag:team = 'research'"}
	s.command(s.dcvsm("create-session"), "--name "+request.Name+" --owner "+request.Owner+" --type Virtual", fmt.Sprintf("--requirements %q", request.Requirements))
	var answer createAnswer
	if err := s.api.call(ctx, http.MethodPost, "/createSessions?explain=true", []sessionRequest{request}, &answer); err != nil {
		return "", err
	}
	if len(answer.UnsuccessfulList) != 1 {
		return "", errors.New("it was not refused")
	}
	refused := answer.UnsuccessfulList[0]
	s.note("FailureReason: %s", refused.FailureReason)
	return "refused: " + refused.FailureDetails.Detail, nil
}

func (s *stage) connect(ctx context.Context) (string, error) {
	mine := s.sessions[0]
	s.command(s.dcvsm("get-session-connection-data"), "--session-id "+mine.ID+" --user "+mine.Owner)
	var data connectionData
	if err := s.api.call(ctx, http.MethodGet, "/sessionConnectionData/"+mine.ID+"/"+mine.Owner, nil, &data); err != nil {
		return "", err
	}
	if len(data.Session.Server.Endpoints) == 0 {
		return "", errors.New("the connection data names no endpoint")
	}
	address := fmt.Sprintf("https://%s:%d/", data.Session.Server.IP, data.Session.Server.Endpoints[0].Port)
	s.url = address + "?authToken=" + data.ConnectionToken + "#" + mine.ID
	s.command(s.program(hostProgram)+" connect --insecure", fmt.Sprintf("'%s?authToken=%.12s...#%s'", address, data.ConnectionToken, mine.ID))
	var err error
	if s.viewer, err = s.procs.start("connect", s.program(hostProgram), "connect", "--insecure", s.url); err != nil {
		return "", err
	}
	if err := s.awaitConnections(ctx, 1); err != nil {
		return "", err
	}
	greeting, err := os.ReadFile(s.viewer.log)
	first, _, _ := strings.Cut(string(greeting), "\n")
	s.note("%s", first)
	return "the broker counts 1 connection to " + mine.Name, err
}

func (s *stage) screenshot(ctx context.Context) (string, error) {
	s.command(s.dcvsm("get-session-screenshots"), "--session-ids "+s.sessions[0].ID, "--max-width 1280 --max-height 720 --save-to "+s.out)
	images, err := s.images(ctx, 1280, 720, s.sessions[0])
	if err != nil {
		return "", err
	}
	shape, format, err := image.DecodeConfig(bytes.NewReader(images[0]))
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.out, "screenshot."+format)
	return fmt.Sprintf("%s, %d x %d pixels", file, shape.Width, shape.Height), os.WriteFile(file, images[0], 0o600)
}

// crash shows that what the broker answered with success outlives it.
func (s *stage) crash(ctx context.Context) (string, error) {
	before := slices.Clone(s.sessions)
	s.command(fmt.Sprintf("kill -9 %d", s.broker.cmd.Process.Pid))
	s.procs.kill(s.broker)
	s.api.client.CloseIdleConnections()
	if err := s.api.health(ctx); err == nil {
		return "", errors.New("the broker still answers")
	}
	s.command(s.program(brokerProgram) + " --config " + s.path(s.config))
	began := time.Now()
	if err := s.runBroker(); err != nil {
		return "", err
	}
	if err := s.awaitBroker(ctx); err != nil {
		return "", err
	}
	s.note("ready again after %s; the access token from before still counts", seconds(time.Since(began)))
	if err := s.awaitAgents(ctx); err != nil {
		return "", err
	}
	s.note("all agents are back and at work after %s", seconds(time.Since(began)))
	if err := errors.Join(s.awaitSessions(ctx, "READY"), s.awaitConnections(ctx, 1)); err != nil {
		return "", err
	}
	for i, session := range s.sessions {
		if session.ID != before[i].ID || session.Server.ID != before[i].Server.ID {
			return "", fmt.Errorf("session %s is not what it was", before[i].Name)
		}
	}
	return fmt.Sprintf("nothing: %d sessions READY where they were, and %s was connected all the time", len(before), before[0].Owner), nil
}

func (s *stage) deleteSessions(ctx context.Context) (string, error) {
	first := s.sessions[0]
	s.command(s.dcvsm("delete-session"), "--session-id "+first.ID+" --owner "+first.Owner)
	s.note("%s", s.in(dim, "and "+number(len(s.sessions)-1)+" more"))
	var requests []deleteRequest
	for _, session := range s.sessions {
		requests = append(requests, deleteRequest{session.ID, session.Owner})
	}
	s.viewer.endIsOK = true
	var answer deleteAnswer
	if err := s.api.call(ctx, http.MethodPost, "/deleteSessions", requests, &answer); err != nil {
		return "", err
	}
	for _, refused := range answer.UnsuccessfulList {
		return "", errors.New(refused.FailureReason)
	}
	if err := s.awaitSessions(ctx, "DELETED"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d sessions DELETED; they stay visible as such for an hour", len(s.sessions)), nil
}
