package fleet

import "github.com/asynkron/protoactor-go/cluster"

// provider is our cluster.ClusterProvider. It only says that the library is up: who is
// in the fleet is the business of package membership, and the library's own member
// list, which blocks for ever whoever left once, never hears of anybody.
type provider struct{ ready chan struct{} }

// StartMember implements cluster.ClusterProvider.
func (p *provider) StartMember(*cluster.Cluster) error {
	close(p.ready)
	return nil
}

// StartClient implements cluster.ClusterProvider. A broker is always a member.
func (p *provider) StartClient(*cluster.Cluster) error { return ErrStopped }

// Shutdown implements cluster.ClusterProvider.
func (p *provider) Shutdown(bool) error { return nil }
