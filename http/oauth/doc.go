// Package oauth says who calls. It is the broker's own authorization server
// (contract section 2) and the check of everything that server issued:
//
//	what                  issued by                         checked by
//	API access token      POST /oauth2/token                Authorize
//	agent client          POST /agent/register              POST /agent/oauth2/token
//	agent access token    POST /agent/oauth2/token          AuthorizeAgent
//	connection token      SignConnection                    POST /agent/validate-authentication-token
//
// API access tokens may also be those of external authorization servers, whose keys
// the package keyset fetches.
//
// Our tokens are ES256 JWTs. The three kinds cannot stand in for one another: API
// and agent tokens differ in their audience, connection tokens have a key of
// their own. Keys, clients, authorization servers and software statements live in the store, so every
// broker of a fleet accepts what any of them issued, restarts included.
//
// Secrets are kept as a keyed hash, HMAC-SHA256. They are 122 random bits, so
// there is nothing to guess offline and a slow password hash would only hand a
// stranger a way to burn our processor time.
//
// Administrators' changes reach every broker of a fleet within a second: each change
// raises a counter in the store, the epoch, which all brokers read twice a second.
package oauth
