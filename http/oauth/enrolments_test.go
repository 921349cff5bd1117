package oauth_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/oauth"
	"opensessionmanager/internal/enrolment"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

// enrolmentToken makes a token that is valid for an hour.
func (w *world) enrolmentToken(t testing.TB, uses int) (text, id string) {
	t.Helper()
	text, made, err := w.Enrolments().Generate(t.Context(), time.Hour, uses, enrolment.Fingerprint{})
	require.NoError(t, err)
	return text, made.ID
}

// papers are what a host sends, with a nonce that is made of a letter.
func papers(token, host string) string {
	nonce := hex.EncodeToString([]byte(strings.Repeat(host, enrolment.SecretLen)[:enrolment.SecretLen]))
	return fmt.Sprintf(`{"client_name":"host-%s","enrolment_token":%q,"enrolment_nonce":%q}`, host, token, nonce)
}

type enrolled struct {
	status int
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
	Error  string `json:"error"`
	Reason string `json:"error_description"`
}

func (w *world) enrolBy(t testing.TB, token, host string) (e enrolled) {
	t.Helper()
	answer := ask(w.RegisterHandler(), "/agent/register", "", papers(token, host))
	require.NoError(t, json.Unmarshal(answer.Body(), &e))
	e.status = answer.StatusCode()
	return e
}

func (w *world) agentWorks(e enrolled) bool {
	return ask(w.AgentTokenHandler(), "/agent/oauth2/token?grant_type=client_credentials", basic(e.ID, e.Secret), "").StatusCode() == 200
}

func (w *world) enrolments(t testing.TB) []oauth.Enrolment {
	t.Helper()
	all, err := w.Enrolments().Describe(t.Context())
	require.NoError(t, err)
	return all
}

// N10, C17: one text makes one host a client, at every broker.
func TestEnrolment_ATokenMakesOneHostAClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, id := w.enrolmentToken(t, 1)
	require.Equal(t, []oauth.Enrolment{{ID: id, Created: w.clock.Now().UTC(), Expires: w.clock.Now().Add(time.Hour).UTC(), UsesLeft: 1, Active: true}}, w.enrolments(t))
	first := w.enrolBy(t, token, "a")
	require.Equal(t, 201, first.status, first.Reason)
	require.NoError(t, uuid.Validate(first.ID))
	require.Len(t, first.Secret, 48)
	require.True(t, w.agentWorks(first))
	require.True(t, join(t, w.store).agentWorks(first))

	second := join(t, w.store).enrolBy(t, token, "b")
	require.Equal(t, 400, second.status)
	require.Equal(t, "invalid_enrolment_token", second.Error)
	require.Equal(t, "The enrolment token was used already; ask for another one", second.Reason)
	agents, err := w.Agents().Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []oauth.Description{{ID: first.ID, Name: "host-a", Active: true}}, agents)
	require.False(t, w.enrolments(t)[0].Active)
	require.Zero(t, w.enrolments(t)[0].UsesLeft)
}

// A host that did not hear the answer asks again and burns nothing.
func TestEnrolment_AskingAgainGivesTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, _ := w.enrolmentToken(t, 1)
	first := w.enrolBy(t, token, "a")
	again := join(t, w.store).enrolBy(t, token, "a")
	require.Equal(t, first, again)
	require.NoError(t, w.Agents().Unregister(t.Context(), first.ID))
	after := w.enrolBy(t, token, "a")
	require.Equal(t, 400, after.status, "who was unregistered does not come back")
	require.Equal(t, "unauthorized_client", after.Error)
	require.False(t, w.agentWorks(first))
}

func TestEnrolment_RefusalsSayWhy(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	revoked, id := w.enrolmentToken(t, 1)
	require.NoError(t, w.Enrolments().Revoke(t.Context(), id))
	expired, _ := w.enrolmentToken(t, 1)
	w.clock.forward(time.Hour)
	fresh, _ := w.enrolmentToken(t, 1)
	foreign, _ := other.enrolmentToken(t, 1)
	forged, err := enrolment.Parse(fresh)
	require.NoError(t, err)
	forged.Secret[0] ^= 1
	for token, reason := range map[string]string{
		revoked:                "revoked",
		expired:                "expired",
		foreign:                "not known",
		forged.Text():          "not known",
		fresh[:len(fresh)-1]:   "damaged",
		"dcvsm-enrol-9.AAAAAA": "newer version",
		"x":                    "not an enrolment token",
	} {
		answer := w.enrolBy(t, token, "a")
		require.Equal(t, 400, answer.status)
		require.Equal(t, "invalid_enrolment_token", answer.Error)
		require.Contains(t, answer.Reason, reason)
	}
	for name, body := range map[string]string{
		"no nonce":    fmt.Sprintf(`{"client_name":"h","enrolment_token":%q}`, fresh),
		"short nonce": fmt.Sprintf(`{"client_name":"h","enrolment_token":%q,"enrolment_nonce":"00"}`, fresh),
		"two papers":  strings.Replace(papers(fresh, "a"), "{", `{"software_statement":"x",`, 1),
	} {
		answer := ask(w.RegisterHandler(), "/agent/register", "", body)
		require.Equal(t, 400, answer.StatusCode(), name)
		require.Contains(t, string(answer.Body()), "invalid_client_metadata", name)
	}
	require.Equal(t, 201, w.enrolBy(t, fresh, "a").status, "none of that used it up")
}

func TestEnrolment_NeedsNothingIfAgentsAreNotAuthorized(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *oauth.Config) { c.EnableAgentAuthorization = false })
	token, _ := w.enrolmentToken(t, 1)
	require.Equal(t, 201, w.enrolBy(t, token, "a").status)
	require.Equal(t, 201, w.enrolBy(t, token, "b").status)
	require.Equal(t, 1, w.enrolments(t)[0].UsesLeft)
}

// Wrong secrets of a token are slowed down as those of a client are; one line each, and
// never a secret in it.
func TestEnrolment_GuessesAreSlowedDownAndToldOf(t *testing.T) {
	t.Parallel()
	var trail bytes.Buffer
	w := newWorld(t, func(c *oauth.Config) {
		c.Audit = audit.New(slog.New(slog.NewJSONHandler(&trail, nil)), slog.New(slog.DiscardHandler))
	})
	token, id := w.enrolmentToken(t, 2)
	good := w.enrolBy(t, token, "a")
	require.Equal(t, 201, good.status)
	statuses := map[int]int{}
	for range 12 {
		forged, err := enrolment.Parse(token)
		require.NoError(t, err)
		forged.Secret[3]++
		statuses[w.enrolBy(t, forged.Text(), "a").status]++
	}
	require.Equal(t, map[int]int{400: 10, 429: 2}, statuses)
	require.Equal(t, 429, w.enrolBy(t, token, "a").status, "nobody learns that this one is right")
	answer := ask(w.RegisterHandler(), "/agent/register", "", papers(token, "b"))
	require.NotEmpty(t, answer.Header.Peek("Retry-After"))
	require.Equal(t, "TOO_MANY_REQUESTS", string(answer.Header.Peek("X-Error-Code")))
	w.clock.forward(10 * time.Second)
	require.Equal(t, 201, w.enrolBy(t, token, "a").status)

	lines := strings.Split(strings.TrimSpace(trail.String()), "\n")
	require.Len(t, lines, 16)
	for _, line := range lines {
		require.Contains(t, line, `"subject":"enrolment-token `+id)
		require.NotContains(t, line, token)
		require.NotContains(t, line, token[20:60])
		require.NotContains(t, line, good.Secret)
	}
}

// One use is one host, however many ask at once at two brokers.
func TestEnrolment_OneUseIsOneHostAmongMany(t *testing.T) {
	t.Parallel()
	const hosts, uses = 24, 3
	a := newWorld(t)
	b := join(t, a.store)
	token, _ := a.enrolmentToken(t, uses)
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for i := range hosts {
		w := []*world{a, b}[i%2]
		all.Go(func() {
			switch e := w.enrolBy(t, token, string(rune('A'+i))); e.status {
			case 201:
				won.Add(1)
			case 400:
				lost.Add(1)
			default:
				t.Errorf("status %d: %s", e.status, e.Reason)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, uses, won.Load())
	require.EqualValues(t, hosts-uses, lost.Load())
	agents, err := a.Agents().Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, agents, uses)
}

// The broker is killed, or its store lost, at each call of the store, before or after it
// was done. The host asks again at a broker that lives, and the token made one agent.
func TestEnrolment_ACrashAnywhereBurnsNothing(t *testing.T) {
	t.Parallel()
	for _, fault := range []faulty.Fault{faulty.Unavailable, faulty.AnswerLost, faulty.RequestLost} {
		crashed := 0
		for at := int32(0); ; at++ {
			inner := memory.New()
			var armed atomic.Bool
			var calls atomic.Int32
			broken := faulty.New(inner, faulty.Config{Decide: func(faulty.Call) faulty.Fault {
				if !armed.Load() {
					return faulty.None
				}
				switch n := calls.Add(1) - 1; {
				case n < at:
					return faulty.None
				case n == at:
					return fault
				default:
					return faulty.Unavailable // the rest never happens
				}
			}})
			dying := join(t, broken)
			token, _ := dying.enrolmentToken(t, 1)
			armed.Store(true)
			first := dying.enrolBy(t, token, "a")
			living := join(t, inner)
			again := living.enrolBy(t, token, "a")
			require.Equal(t, 201, again.status, "fault %d at call %d: %s", fault, at, again.Reason)
			require.True(t, living.agentWorks(again))
			require.Equal(t, 400, living.enrolBy(t, token, "b").status)
			agents, err := living.Agents().Describe(t.Context())
			require.NoError(t, err)
			require.Len(t, agents, 1)
			if calls.Load() <= at { // it never came to the fault
				require.Equal(t, 201, first.status)
				break
			}
			require.Equal(t, 503, first.status, "fault %d at call %d", fault, at)
			crashed++
		}
		require.GreaterOrEqual(t, crashed, 4, "load, claim, client, load again")
	}
}

// A revocation that meets an enrolment under way wins.
func TestEnrolment_RevokedWhileUnderWayMakesNoClient(t *testing.T) {
	t.Parallel()
	inner := memory.New()
	var w *world
	var id string
	store := faulty.New(inner, faulty.Config{Delay: func(_ context.Context, calls []faulty.Call) error {
		if calls[0].Method == faulty.Save && calls[0].Key.Kind == "agent-client" {
			return join(t, inner).Enrolments().Revoke(context.Background(), id)
		}
		return nil
	}})
	w = join(t, store)
	token, made := w.enrolmentToken(t, 1)
	id = made
	answer := w.enrolBy(t, token, "a")
	require.Equal(t, 400, answer.status)
	require.Contains(t, answer.Reason, "revoked")
	agents, err := w.Agents().Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, agents, 1)
	require.False(t, agents[0].Active)
}

func TestEnrolments_AreBoundedAndCleanedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, wrong := range []struct {
		validFor time.Duration
		uses     int
	}{{0, 1}, {time.Second, 1}, {31 * 24 * time.Hour, 1}, {time.Hour, 0}, {time.Hour, oauth.MaxEnrolmentUses + 1}} {
		_, _, err := w.Enrolments().Generate(t.Context(), wrong.validFor, wrong.uses, enrolment.Fingerprint{})
		require.ErrorIs(t, err, oauth.ErrEnrolmentBounds)
	}
	for range oauth.MaxEnrolmentTokens {
		w.enrolmentToken(t, 1)
	}
	_, _, err := w.Enrolments().Generate(t.Context(), time.Hour, 1, enrolment.Fingerprint{})
	require.ErrorIs(t, err, oauth.ErrTooManyEnrolments)
	w.clock.forward(25 * time.Hour)
	_, id := w.enrolmentToken(t, 1)
	require.Len(t, w.enrolments(t), 1)
	require.Equal(t, id, w.enrolments(t)[0].ID)
	require.ErrorIs(t, w.Enrolments().Revoke(t.Context(), uuid.NewString()), oauth.ErrUnknownEnrolment)
	require.ErrorIs(t, w.Enrolments().Revoke(t.Context(), "x"), oauth.ErrUnknownEnrolment)
}

// Who reads the store cannot enrol: neither secret nor nonce nor password is in it. And
// the largest record fits.
func TestEnrolments_KeepNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, id := w.enrolmentToken(t, oauth.MaxEnrolmentUses)
	made := w.enrolBy(t, token, "a")
	parsed, err := enrolment.Parse(token)
	require.NoError(t, err)
	for _, kind := range []string{"enrolment-token", "agent-client"} {
		records, err := w.store.Scan(t.Context(), kind, "", 10)
		require.NoError(t, err)
		require.Len(t, records, 1)
		for _, secret := range []string{token, made.Secret, string(parsed.Secret[:]), hex.EncodeToString(parsed.Secret[:]), strings.Repeat("a", 16), hex.EncodeToString([]byte(strings.Repeat("a", 16)))} {
			require.NotContains(t, string(records[0].Data), secret)
		}
	}
	for i := 1; i < oauth.MaxEnrolmentUses; i++ {
		require.Equal(t, 201, w.enrolBy(t, token, fmt.Sprintf("%016d", i)).status)
	}
	require.Equal(t, 400, w.enrolBy(t, token, "z").status)
	record, err := w.store.Load(t.Context(), persistence.Key{Kind: "enrolment-token", ID: id})
	require.NoError(t, err)
	require.Less(t, len(record.Data), persistence.MaxDataSize/2)
}

// --with-agents: whoever enrolled with a stolen token is out.
func TestEnrolment_RevokedWithItsAgents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, id := w.enrolmentToken(t, 2)
	other, _ := w.enrolmentToken(t, 1)
	stolen, honest := w.enrolBy(t, token, "a"), w.enrolBy(t, other, "b")
	require.NoError(t, w.Enrolments().Revoke(t.Context(), id))
	n, err := w.Agents().UnregisterAll(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.False(t, w.agentWorks(stolen))
	require.True(t, w.agentWorks(honest))
	require.Equal(t, fasthttp.StatusBadRequest, w.enrolBy(t, token, "c").status)
}
