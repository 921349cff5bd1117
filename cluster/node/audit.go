package node

import (
	"context"

	"opensessionmanager/actors"
	"opensessionmanager/http/audit"
	"opensessionmanager/internal/logging"
	"opensessionmanager/messages"
)

// openAudit begins the audit trail, a file of its own: who may read the log need not
// see who used what, and it is kept for longer.
func (n *Node) openAudit(context.Context) error {
	cfg := n.opt.Config.Logging
	directory := string(cfg.AuditDirectory)
	if directory == "" {
		directory = string(cfg.Directory)
	}
	if directory == "" {
		directory = n.workingPath()
	}
	trail, err := logging.Open(logging.Options{JSON: true, Directory: directory, FileName: "audit.log",
		Rotation: cfg.AuditRotation, MaxSizeMB: cfg.AuditMaxFileSize, KeepFiles: cfg.AuditKeepFiles})
	if err != nil {
		return err
	}
	n.onStop(trail.Close)
	n.auditLog = trail
	n.audit = audit.New(trail.Logger(), n.log)
	return nil
}

// recordCopy is one line for each agent that showed another one's identity (F13).
func (n *Node) recordCopy(c actors.Copy) {
	n.audit.RefuseFrom(audit.Origin{Remote: c.Address}, audit.Event{Act: "duplicate-identity",
		Code: messages.CodeDuplicateIdentity, Reason: c.Reason, Client: c.ClientID, ClientName: c.Host, Server: c.ServerID, Subject: c.MachineID})
}
