package rest

// The request bodies of contract section 1, under the vendor's names. A member
// that is null counts as absent; omitzero keeps it out of the echo of a failed item.

type keyValuePair struct {
	Key   string
	Value string
}

type describeSessionsRequest struct {
	SessionIDs []string `json:"SessionIds"`
	Filters    []keyValuePair
	MaxResults *int64
	NextToken  string
}

// reset keeps the room for ids, so that asking for one session allocates little.
func (r *describeSessionsRequest) reset() {
	clear(r.SessionIDs)
	*r = describeSessionsRequest{SessionIDs: r.SessionIDs[:0]}
}

type describeServersRequest struct {
	ServerIDs  []string `json:"ServerIds"`
	MaxResults *int64
	NextToken  string
}

type createSessionRequest struct {
	Name                  string   `json:",omitzero"`
	Owner                 string   `json:",omitzero"`
	Type                  string   `json:",omitzero"`
	InitFile              string   `json:",omitzero"`
	InitFilePath          string   `json:",omitzero"`
	AutorunFile           string   `json:",omitzero"`
	AutorunFileArguments  []string `json:",omitzero"`
	MaxConcurrentClients  *int64   `json:",omitzero"`
	DcvGlEnabled          *bool    `json:",omitzero"`
	PermissionsFile       *string  `json:",omitzero"`
	Requirements          string   `json:",omitzero"`
	EnqueueRequest        *bool    `json:",omitzero"`
	DisableRetryOnFailure *bool    `json:",omitzero"`
	StorageRoot           string   `json:",omitzero"`
}

type deleteSessionRequest struct {
	SessionID string `json:"SessionId"`
	Owner     string
	Force     bool
}

type updatePermissionsRequest struct {
	SessionID       string `json:"SessionId"`
	Owner           string
	PermissionsFile *string
}

type screenshotRequest struct {
	SessionID string `json:"SessionId,omitzero"`
	MaxWidth  *int64 `json:",omitzero"`
	MaxHeight *int64 `json:",omitzero"`
}

type openServerRequest struct {
	ServerID string `json:"ServerId,omitzero"`
}

type closeServerRequest struct {
	ServerID string `json:"ServerId,omitzero"`
	Force    *bool  `json:",omitzero"`
}

// connectionDataRequest is the path of GetSessionConnectionData, decoded.
type connectionDataRequest struct {
	SessionID string
	User      string
}
