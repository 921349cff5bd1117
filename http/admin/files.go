package admin

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"opensessionmanager/http/admin/adminclient"
)

// credentialLength is that of a credential in characters: 256 random bits in hex.
const credentialLength = 64

// ErrCredentialFile: the credential file is not fit for use.
var ErrCredentialFile = errors.New("admin: unusable credential file")

// Credential returns the credential of the admin endpoint, which it makes at the
// first start: a file in dir that only its owner may read. A file that others
// may read is refused, since they may have read it already.
func Credential(dir string) (string, error) {
	path := filepath.Join(dir, adminclient.CredentialFile)
	secret, err := loadCredential(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	raw := make([]byte, credentialLength/2)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the process first
	temporary, err := writeTemporary(dir, hex.EncodeToString(raw)+"\n")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(temporary) }()
	// A link is made whole or not at all, and never over another broker's file.
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("admin: create credential: %w", err)
	}
	return loadCredential(path)
}

func loadCredential(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", fmt.Errorf("admin: read credential: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%w: %s must be a file with mode 0600, not %s; remove it to get a new one", ErrCredentialFile, path, info.Mode())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("admin: read credential: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if _, err := hex.DecodeString(secret); err != nil || len(secret) != credentialLength {
		return "", fmt.Errorf("%w: %s is damaged; remove it to get a new one", ErrCredentialFile, path)
	}
	return secret, nil
}

// Publish tells the admin commands where this broker listens, by a file in dir.
// Withdraw takes it back.
func Publish(dir string, endpoint adminclient.Endpoint) error {
	data, err := json.MarshalIndent(endpoint, "", "  ")
	if err != nil {
		return fmt.Errorf("admin: encode endpoint: %w", err)
	}
	temporary, err := writeTemporary(dir, string(data)+"\n")
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, adminclient.EndpointFile)); err != nil {
		_ = os.Remove(temporary)
		return fmt.Errorf("admin: publish endpoint: %w", err)
	}
	return nil
}

// Withdraw is called when the broker stops.
func Withdraw(dir string) error {
	err := os.Remove(filepath.Join(dir, adminclient.EndpointFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin: withdraw endpoint: %w", err)
	}
	return nil
}

// writeTemporary writes a file of mode 0600 in dir, to be moved into its place.
func writeTemporary(dir, text string) (path string, err error) {
	file, err := os.CreateTemp(dir, ".admin-*")
	if err != nil {
		return "", fmt.Errorf("admin: write file: %w", err)
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		_ = os.Remove(file.Name())
		return "", fmt.Errorf("admin: write file: %w", err)
	}
	return file.Name(), nil
}
