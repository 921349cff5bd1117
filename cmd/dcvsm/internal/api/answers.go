package api

import (
	"fmt"
	"strings"
)

// Explanation is why an item failed, beyond the vendor's text. This broker sends it
// on request; it is not part of the output.
type Explanation struct {
	FailureCode *string
	Details
}

// Details is the part of an explanation that no item has of itself.
type Details struct {
	FailureDetails *struct {
		Detail  string
		Servers []struct {
			Criterion string
			Count     int64
		}
		RetryAfterMs int64
	}
}

// String is one line: "CODE: detail (3 servers: closed; 2 servers: full)", or "".
func (e Explanation) String() string {
	var parts []string
	if e.FailureCode != nil {
		parts = append(parts, *e.FailureCode)
	}
	if d := e.FailureDetails; d != nil {
		text := d.Detail
		var counts []string
		for _, s := range d.Servers {
			counts = append(counts, fmt.Sprintf("%d: %s", s.Count, s.Criterion))
		}
		if len(counts) > 0 {
			text = strings.TrimSpace(text + " (servers: " + strings.Join(counts, "; ") + ")")
		}
		if d.RetryAfterMs > 0 {
			text += fmt.Sprintf(" [try again in %.1f s]", float64(d.RetryAfterMs)/1000)
		}
		if text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ": ")
}

// Failure is one failed item of an answer, for people.
type Failure struct {
	Item   string // what failed: a session's or server's id or name
	Reason string // the vendor's text
	Why    string // the explanation; "" if there is none
}

func failure(item, reason *string, why Explanation) Failure {
	return Failure{Text(item), Text(reason), why.String()}
}

// Text is the text of a member, "" if it is absent.
func Text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// SessionsPage answers DescribeSessions.
type SessionsPage struct {
	RequestID *string `json:"RequestId"`
	Sessions  []Session
	NextToken *string
}

// ServersPage answers DescribeServers.
type ServersPage struct {
	RequestID *string `json:"RequestId"`
	Servers   []Server
	NextToken *string
}

// CreateAnswer answers CreateSessions.
type CreateAnswer struct {
	RequestID        *string `json:"RequestId"`
	SuccessfulList   []Session
	UnsuccessfulList []struct {
		CreateSessionRequestData *CreateSessionRequest
		FailureReason            *string
		Explanation              `out:"-"`
	}
}

// Failures lists the failed items.
func (a *CreateAnswer) Failures() []Failure {
	var all []Failure
	for _, item := range a.UnsuccessfulList {
		var name *string
		if item.CreateSessionRequestData != nil {
			name = item.CreateSessionRequestData.Name
		}
		all = append(all, failure(name, item.FailureReason, item.Explanation))
	}
	return all
}

// DeleteAnswer answers DeleteSessions.
type DeleteAnswer struct {
	RequestID      *string `json:"RequestId"`
	SuccessfulList []struct {
		SessionID *string `json:"SessionId"`
		State     *string
	}
	UnsuccessfulList []FailedSession
}

// Failures lists the failed items.
func (a *DeleteAnswer) Failures() []Failure { return failedSessions(a.UnsuccessfulList) }

// FailedSession is a failed item of DeleteSessions and UpdateSessionPermissions.
type FailedSession struct {
	SessionID     *string `json:"SessionId"`
	FailureReason *string
	Explanation   `out:"-"`
}

func failedSessions(items []FailedSession) []Failure {
	var all []Failure
	for _, item := range items {
		all = append(all, failure(item.SessionID, item.FailureReason, item.Explanation))
	}
	return all
}

// PermissionsAnswer answers UpdateSessionPermissions.
type PermissionsAnswer struct {
	RequestID      *string `json:"RequestId"`
	SuccessfulList []struct {
		SessionID *string `json:"SessionId"`
	}
	UnsuccessfulList []FailedSession
}

// Failures lists the failed items.
func (a *PermissionsAnswer) Failures() []Failure { return failedSessions(a.UnsuccessfulList) }

// ConnectionData answers GetSessionConnectionData.
type ConnectionData struct {
	Session         *Session
	ConnectionToken *string
}

// ScreenshotsAnswer answers GetSessionScreenshots.
type ScreenshotsAnswer struct {
	RequestID      *string `json:"RequestId"`
	SuccessfulList []struct {
		SessionScreenshot *SessionScreenshot
	}
	UnsuccessfulList []struct {
		GetSessionScreenshotRequestData *ScreenshotRequest
		FailureReason                   *string
		Explanation                     `out:"-"`
	}
}

// SessionScreenshot holds the images of one session.
type SessionScreenshot struct {
	SessionID *string `json:"SessionId"`
	Images    []Image
}

// Image is one screen, in base64.
type Image struct {
	Format       *string
	Data         *string
	CreationTime *string
	Primary      *bool
}

// Failures lists the failed items.
func (a *ScreenshotsAnswer) Failures() []Failure {
	var all []Failure
	for _, item := range a.UnsuccessfulList {
		var id *string
		if item.GetSessionScreenshotRequestData != nil {
			id = item.GetSessionScreenshotRequestData.SessionID
		}
		all = append(all, failure(id, item.FailureReason, item.Explanation))
	}
	return all
}

// OpenServersAnswer answers OpenServers.
type OpenServersAnswer struct {
	RequestID        *string `json:"RequestId"`
	SuccessfulList   []ServerItem
	UnsuccessfulList []struct {
		OpenServerRequestData *OpenServerRequest
		FailedServer
	}
}

// ServerItem names a server that was opened or closed.
type ServerItem struct {
	ServerID *string `json:"ServerId"`
}

// FailedServer is the common part of a failed item of OpenServers and CloseServers.
// Here the code is the vendor's own member.
type FailedServer struct {
	FailureCode   *string
	FailureReason *string
	Details       `out:"-"`
}

// Failures lists the failed items.
func (a *OpenServersAnswer) Failures() []Failure {
	var all []Failure
	for _, item := range a.UnsuccessfulList {
		var id *string
		if item.OpenServerRequestData != nil {
			id = item.OpenServerRequestData.ServerID
		}
		all = append(all, failure(id, item.FailureReason, Explanation{item.FailureCode, item.Details}))
	}
	return all
}

// CloseServersAnswer answers CloseServers.
type CloseServersAnswer struct {
	RequestID        *string `json:"RequestId"`
	SuccessfulList   []ServerItem
	UnsuccessfulList []struct {
		CloseServerRequestData *CloseServerRequest
		FailedServer
	}
}

// Failures lists the failed items.
func (a *CloseServersAnswer) Failures() []Failure {
	var all []Failure
	for _, item := range a.UnsuccessfulList {
		var id *string
		if item.CloseServerRequestData != nil {
			id = item.CloseServerRequestData.ServerID
		}
		all = append(all, failure(id, item.FailureReason, Explanation{item.FailureCode, item.Details}))
	}
	return all
}
