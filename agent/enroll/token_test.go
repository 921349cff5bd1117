package enroll

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/internal/enrolment"
)

// tokenOffice makes a client for each nonce that comes with a token, as a broker does.
type tokenOffice struct {
	*office
	nonces map[string]string // client id by nonce
	lost   bool              // its answers do not arrive
}

func newTokenOffice(t *testing.T) *tokenOffice {
	o := &tokenOffice{office: &office{clients: map[string]string{}}, nonces: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+agentproto.PathToken, o.token)
	mux.HandleFunc("GET "+agentproto.PathCA, func(w http.ResponseWriter, _ *http.Request) {
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: o.server.Certificate().Raw})
	})
	mux.HandleFunc("POST "+agentproto.PathRegister, func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		var in registration
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.EnrolmentToken == "" || in.EnrolmentNonce == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		id, known := o.nonces[in.EnrolmentNonce]
		if !known {
			id = fmt.Sprintf("client-%d", len(o.nonces)+1)
			o.nonces[in.EnrolmentNonce], o.clients[id] = id, "secret-of-"+id
		}
		if o.lost {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, `{"client_id":%q,"client_secret":%q}`, id, o.clients[id])
	})
	o.server = httptest.NewTLSServer(mux)
	o.server.Config.ErrorLog = nil
	t.Cleanup(o.server.Close)
	return o
}

func agreed() error { return nil }

// N10: with a token the host is a client for good.
func TestEnrol_KeepsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	o := newTokenOffice(t)
	d := newDesk(t, "", o.office)
	token := enrolment.New(enrolment.Fingerprint{})
	require.Empty(t, d.EnrolledBy(token))
	id, err := d.Enrol(t.Context(), token, agreed)
	require.NoError(t, err)
	require.Equal(t, "client-1", id)
	bearer, err := d.open("", o.office).Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token-1-of-client-1", bearer)
	require.Equal(t, "client-1", d.open("", o.office).EnrolledBy(token))
	require.Empty(t, d.EnrolledBy(enrolment.New(enrolment.Fingerprint{})))
	left, err := os.ReadDir(filepath.Join(d.folder, "data"))
	require.NoError(t, err)
	require.Len(t, left, 1, "the credentials and nothing else")
	require.NotContains(t, d.log.String(), token.Text())
	require.NotContains(t, d.log.String(), "secret-of")
}

// The answer is lost, the authority cannot be written, the agent is killed: whatever
// came first, the next try is the same host to the broker.
func TestEnrol_AfterAFailureItIsTheSameHost(t *testing.T) {
	t.Parallel()
	o := newTokenOffice(t)
	d := newDesk(t, "", o.office)
	token := enrolment.New(enrolment.Fingerprint{})
	o.set(func() { o.lost = true })
	_, err := d.Enrol(t.Context(), token, agreed)
	require.ErrorContains(t, err, "502")
	o.set(func() { o.lost = false })
	_, err = d.open("", o.office).Enrol(t.Context(), token, func() error { return errors.New("disk full") })
	require.ErrorContains(t, err, "disk full")
	require.NoFileExists(t, filepath.Join(d.folder, "data", "credentials.json"))
	id, err := d.open("", o.office).Enrol(t.Context(), token, agreed)
	require.NoError(t, err)
	require.Equal(t, "client-1", id)
	require.Len(t, o.nonces, 1)

	_, err = d.Enrol(t.Context(), enrolment.New(enrolment.Fingerprint{}), agreed) // another token is another use
	require.NoError(t, err)
	require.Len(t, o.nonces, 2)
}

func TestEnrol_ADamagedNonceIsReplaced(t *testing.T) {
	t.Parallel()
	token := enrolment.New(enrolment.Fingerprint{})
	for _, kept := range []string{"", "{", `{"token_id":"x","nonce":"00"}`, fmt.Sprintf(`{"token_id":%q,"nonce":"zz"}`, token.ID)} {
		o := newTokenOffice(t)
		d := newDesk(t, "", o.office)
		require.NoError(t, os.Mkdir(filepath.Join(d.folder, "data"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(d.folder, "data", nonceFile), []byte(kept), 0o600))
		_, err := d.Enrol(t.Context(), token, agreed)
		require.NoError(t, err, kept)
	}
}

// F13: a copied host takes another use of the token that its image has.
func TestReplace_TakesATokenIfThereIsNoStatement(t *testing.T) {
	t.Parallel()
	o := newTokenOffice(t)
	d := newDesk(t, "", o.office)
	token := enrolment.New(enrolment.Fingerprint{})
	d.cfg.EnrolmentToken = func() (enrolment.Token, error) { return token, nil }
	_, err := d.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.Replace(t.Context()))
	bearer, err := d.Token(t.Context())
	require.NoError(t, err)
	require.Contains(t, bearer, "client-2")
}

// C18: who answers is believed only if its key is the one in the token.
func TestAuthority_IsTheOneOfTheToken(t *testing.T) {
	t.Parallel()
	o, foreign := newTokenOffice(t), enrolment.Fingerprint{1}
	right := enrolment.Of(o.server.Certificate())
	down := "127.0.0.1:1"
	found, err := Authority(t.Context(), []string{down, o.address()}, right)
	require.NoError(t, err)
	require.Equal(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.server.Certificate().Raw}), found)
	_, err = Authority(t.Context(), []string{o.address()}, foreign)
	require.ErrorIs(t, err, ErrImpostor)
	require.ErrorContains(t, err, "somebody may be in the middle")
	_, err = Authority(t.Context(), []string{down}, right)
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrImpostor)
	require.NotErrorIs(t, err, ErrRefused)
}

func TestAuthority_HostileAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"old broker": http.NotFound,
		"endless":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, io.LimitReader(endless{}, 1<<22)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		},
		"no PEM": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"no certificate": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 1000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewTLSServer(answer)
			t.Cleanup(server.Close)
			_, err := Authority(t.Context(), []string{server.Listener.Addr().String()}, enrolment.Of(server.Certificate()))
			require.Error(t, err)
			require.Less(t, len(err.Error()), 1000)
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat("A", len(p))), nil }

// Whatever the answer, only certificates with the right key come out of it.
func FuzzPinned(f *testing.F) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	own := server.Certificate()
	server.Close()
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Raw}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		kept, err := pinned(content, enrolment.Of(own))
		for block, rest := pem.Decode(kept); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil || enrolment.Of(c) != enrolment.Of(own) {
				t.Fatal("another certificate came out")
			}
		}
		if (err == nil) != (len(kept) > 0) {
			t.Fatalf("%d bytes and %v", len(kept), err)
		}
	})
}
