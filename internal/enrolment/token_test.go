package enrolment

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// N10: one text that a shell takes as it is.
func TestToken_IsReadAsItWasMade(t *testing.T) {
	t.Parallel()
	made := New(Fingerprint{1, 2, 3})
	require.Regexp(t, regexp.MustCompile(`^[A-Za-z0-9_.-]{105}$`), made.Text())
	for _, text := range []string{made.Text(), made.Text() + "\n", "  " + made.Text() + "\r\n"} {
		read, err := Parse(text)
		require.NoError(t, err)
		require.Equal(t, made, read)
	}
	require.NotEqual(t, made.Text(), New(made.Fingerprint).Text())
}

// C20: neither the log nor a debugger's print shows the secret.
func TestToken_DoesNotPrintItsSecret(t *testing.T) {
	t.Parallel()
	made := New(Fingerprint{})
	for _, form := range []string{"%v", "%+v", "%s", "%#v"} {
		require.Equal(t, made.ID.String(), fmt.Sprintf(form, made))
	}
}

func TestParse_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	text := New(Fingerprint{9}).Text()
	swapped := []byte(text)
	swapped[40], swapped[41] = swapped[41]^1, swapped[40]
	for given, want := range map[string]error{
		"":                                    ErrNoToken,
		"eyJhbGciOi":                          ErrNoToken,
		strings.Repeat("x", MaxText+1):        ErrNoToken,
		"dcvsm-enrol-2." + text[len(prefix):]: ErrVersion,
		text[:len(text)-1]:                    ErrDamaged,
		text + "A":                            ErrDamaged,
		text[:50] + "\n" + text[50:]:          ErrDamaged,
		text[:50] + " " + text[50:]:           ErrDamaged,
		string(swapped):                       ErrDamaged,
		prefix:                                ErrDamaged,
		strings.ToLower(text) + text[len(text)-1:]: ErrDamaged,
	} {
		_, err := Parse(given)
		require.ErrorIs(t, err, want, "%d bytes", len(given))
		require.NotContains(t, err.Error(), text[len(prefix):len(prefix)+10])
	}
}

// An authority that renews its certificate under the same key keeps its fingerprint.
func TestOf_StandsForTheKey(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	first, renewed, foreign := authority(t, key, 1), authority(t, key, 2), authority(t, other, 1)
	require.Equal(t, Of(first), Of(renewed))
	require.NotEqual(t, Of(first), Of(foreign))
}

func authority(t *testing.T, key *ecdsa.PrivateKey, serial int64) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "ca"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func FuzzParse(f *testing.F) {
	f.Add(New(Fingerprint{}).Text())
	f.Add(prefix)
	f.Add("dcvsm-enrol-2.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		read, err := Parse(text)
		if err == nil && read.Text() != strings.TrimSpace(text) {
			t.Fatalf("%q has another reading, %q", text, read.Text())
		}
	})
}
