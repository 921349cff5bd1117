package certs

// What FuzzKeyStore calls: going through files would be most of its work.
var (
	ParseKeyStore   = parseKeyStore
	ParseTrustStore = parseTrustStore
)
