//go:build !race

package fleet

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// F1: what others had asked a broker that died waits in their connections for seconds, and
// reaches the next process on its address. It was asked again long ago, and others have
// changed the object since: a copy that comes now would change it back.
func TestCourier_AQuestionForTheFormerProcessIsNotActedUpon(t *testing.T) {
	t.Parallel()
	f := fellows(t, 1, nil)[0]
	a := &asking{answers: make(chan answer, 2)}
	self, _ := f.system.ProcessRegistry.Add(a, askName+f.system.ProcessRegistry.NextId())
	defer f.system.ProcessRegistry.Remove(self)
	ask := func(id, member string) {
		body, err := proto.Marshal(&messages.DeleteSession{SessionId: id})
		require.NoError(t, err)
		f.system.Root.Send(actor.NewPID(f.Address(), courierName), &messages.Envelope{Kind: messages.KindSession, Id: id, Sender: self,
			Member: member, Type: packagePrefix + "DeleteSession", Body: body, Epoch: f.View().Epoch})
	}
	ask("late", "the one before")
	ask("now", f.Self().ID)
	select {
	case <-a.answers:
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
	}
	_, made := f.lookup.grains.Load(key{messages.KindSession, "late"})
	require.False(t, made, "the late question reached its grain")
}
