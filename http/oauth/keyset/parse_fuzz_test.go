package keyset

import "testing"

// F22: whatever a server sends, the keys that come out are fit for use.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`), "")
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256","use":"sig","key_ops":["verify"]}]}`), "RS256")
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"oct","k":"AA"},null,17]}`), "ES256")
	f.Fuzz(func(t *testing.T, data []byte, algorithm string) {
		keys, err := parse(data, algorithm)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, key := range keys {
			if key.Public == nil || key.Algorithm == "" || algorithm != "" && key.Algorithm != algorithm {
				t.Fatalf("%+v", key)
			}
			if !key.same(key) {
				t.Fatal("a key differs from itself")
			}
		}
	})
}
