package config

import "log/slog"

// Path is the name of a file or folder. When read from a file it is absolute: a
// relative one starts at the folder of the properties file.
type Path string

// Secret is a password. It prints as "[hidden]" whatever way it is formatted,
// logged or marshalled; Reveal is the one way to its text.
type Secret string

const hidden = "[hidden]"

// Reveal returns the password itself. Never log it.
func (s Secret) Reveal() string { return string(s) }

// String hides the password.
func (s Secret) String() string { return hidden }

// GoString hides the password.
func (s Secret) GoString() string { return hidden }

// LogValue hides the password.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the password.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
