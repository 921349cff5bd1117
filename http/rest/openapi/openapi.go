// Package openapi holds the description of the client API in OpenAPI 3.0. It is
// strict: it names every member an answer may have, and which are always there.
package openapi

import _ "embed"

//go:embed openapi.yaml
var description string

// YAML is the description as served at /api.yaml.
func YAML() string { return description }
