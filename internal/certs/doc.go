// Package certs gives a broker its TLS identities, so that checking certificates
// is easier than not checking them.
//
// A broker with nothing configured is its own certificate authority: Ensure makes
// it at the first start, issues a server certificate for every name and address of
// the machine, and renews it in time. Clients and agents need one file,
// dcvsmbroker_ca.pem, whose fingerprint the broker shows. Brokers of one fleet share
// the authority: copy dcvsmbroker_ca_key.pem, which holds key and certificate.
//
// An operator's own key stores are read by LoadKeyStore: PEM, PKCS12 or JKS.
//
// Either way a Live holds the certificate in use, follows its source while the
// process runs, and keeps the old certificate when the new one is bad.
//
// There is no lock file: a key and its certificate are always one file, which
// appears whole or not at all, so two processes that start at once cannot end with
// a mismatched pair.
package certs
