package verifier_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/internal/devhost/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answering(t *testing.T, answer http.HandlerFunc) *verifier.Verifier {
	t.Helper()
	server := httptest.NewTLSServer(answer)
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, block, 0o600))
	v, err := verifier.New(verifier.Options{URL: server.URL, CAFile: ca})
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return v
}

func TestCheck_PostsTheVendorsForm(t *testing.T) {
	t.Parallel()
	v := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.PostFormValue("sessionId") == "s 1" &&
			r.PostFormValue("authenticationToken") == "tok+en" && r.PostFormValue("clientAddress") == "192.0.2.7" {
			_, _ = io.WriteString(w, `<auth result="yes"><username>alice</username></auth>`)
		}
	})
	user, err := v.Check(t.Context(), "s 1", "tok+en", "192.0.2.7")
	require.NoError(t, err)
	require.Equal(t, "alice", user)
}

func TestCheck_TellsNoFromCouldNotAsk(t *testing.T) {
	t.Parallel()
	no := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<auth result="no"><message>token expired</message></auth>`)
	})
	_, err := no.Check(t.Context(), "s", "secret-token", "")
	require.ErrorIs(t, err, verifier.ErrRefused)
	require.ErrorContains(t, err, "token expired")

	broken := answering(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	_, err = broken.Check(t.Context(), "s", "secret-token", "")
	require.ErrorContains(t, err, "502")
	require.NotErrorIs(t, err, verifier.ErrRefused)
	require.NotContains(t, err.Error(), "secret-token")
}

func TestCheck_DoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	v := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, `<auth result="yes"><username>mallory</username></auth>`)
	})
	_, err := v.Check(t.Context(), "s", "t", "")
	require.ErrorContains(t, err, "307")
}

func TestCheck_RefusesAStrangersCertificate(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	strict, err := verifier.New(verifier.Options{URL: server.URL})
	require.NoError(t, err)
	t.Cleanup(strict.Close)
	_, err = strict.Check(t.Context(), "s", "t", "")
	require.ErrorContains(t, err, "certificate")
	lax, err := verifier.New(verifier.Options{URL: server.URL, NoTLSStrict: true})
	require.NoError(t, err)
	t.Cleanup(lax.Close)
	_, err = lax.Check(t.Context(), "s", "t", "")
	require.ErrorContains(t, err, "404")
}

func TestNew_WantsAnHTTPAddress(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "broker:8445", "ftp://x/", "https://"} {
		_, err := verifier.New(verifier.Options{URL: bad})
		require.Error(t, err, bad)
	}
}

func TestParseAnswer_IsStrict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ document, user, want string }{
		"yes":              {`<auth result="yes"><username>al</username></auth>`, "al", ""},
		"with declaration": {`<?xml version="1.0"?><auth result="yes"> <username> al </username><x/></auth>`, "al", ""},
		"escaped":          {`<auth result="yes"><username>a&amp;l</username></auth>`, "a&l", ""},
		"no":               {`<auth result="no"/>`, "", "refused: no reason given"},
		"no with reason":   {"<auth result=\"no\"><message>wr\tong\n</message></auth>", "", "refused: wr ong"},
		"empty":            {``, "", "one <auth>"},
		"not XML":          {`yes`, "", "one <auth>"},
		"maybe":            {`<auth result="maybe"/>`, "", "neither"},
		"no name":          {`<auth result="yes"/>`, "", "username"},
		"two names":        {`<auth result="yes"><username>a</username><username>b</username></auth>`, "", "username"},
		"nested name":      {`<auth result="yes"><x><username>a</username></x></auth>`, "", "username"},
		"two roots":        {`<auth result="no"/><auth result="yes"><username>a</username></auth>`, "", "one <auth>"},
		"another root":     {`<html><auth result="yes"><username>a</username></auth></html>`, "", "one <auth>"},
		"entities":         {`<!DOCTYPE a [<!ENTITY b "c">]><auth result="yes"><username>&b;</username></auth>`, "", "document type"},
		"control":          {"<auth result=\"yes\"><username>a\nb</username></auth>", "", "printable"},
		"long name":        {`<auth result="yes"><username>` + strings.Repeat("a", 300) + `</username></auth>`, "", "printable"},
		"deep":             {strings.Repeat("<a>", 1000), "", "too many"},
		"huge":             {strings.Repeat("<a/>", 100_000), "", "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, err := verifier.ParseAnswer([]byte(c.document))
			require.Equal(t, c.user, user)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`<auth result="yes"><username>alice</username></auth>`))
	f.Add([]byte(`<auth result="no"><message>why</message></auth>`))
	f.Add([]byte(`<?xml version="1.0" encoding="utf-8"?><a>`))
	f.Fuzz(func(t *testing.T, document []byte) {
		user, err := verifier.ParseAnswer(document)
		if (user == "") == (err == nil) {
			t.Fatalf("user %q with error %v", user, err)
		}
		if user != "" && !strings.Contains(string(document), "yes") && !strings.Contains(string(document), "&#") {
			t.Fatalf("nobody said yes: %q", document)
		}
	})
}
