package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/listen"
)

// agentAuthority is who vouches for the agent port: the last certificate that it shows.
// That is our own authority, or what an operator's key store ends with.
func (n *Node) agentAuthority() (*x509.Certificate, error) {
	served, err := n.agentTLS.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(served.Certificate[len(served.Certificate)-1])
}

// serveAuthority is GET /agent/ca: what an enrolling host compares with its token. It is
// public, as the certificate is in every handshake.
func (n *Node) serveAuthority(rc *fasthttp.RequestCtx) {
	authority, err := n.agentAuthority()
	if err != nil {
		n.log.Error("the authority of the agent port cannot be shown", "error", err)
		listen.Fail(rc, fasthttp.StatusInternalServerError, listen.CodeInternal, "Internal error")
		return
	}
	rc.SetContentType("application/x-pem-file")
	rc.Response.Header.Set("Cache-Control", "no-store")
	rc.SetBody(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}))
}
