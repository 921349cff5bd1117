//go:build fleet

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"opensessionmanager/messages"
)

// There is no release before this one to meet, so its successors are built: from this
// source, with the changes that a version brings (go build -overlay). Every message has
// a field more, which is filled in whatever leaves the program or goes to the store;
// there are messages that this version does not know, and they are sent; the protocol
// versions are higher.

// release is one version of the programs.
type release struct{ broker, agent string }

// current is what this source is.
var current = release{broker: brokerProgram, agent: agentProgram}

// noteField is the field that successors have in every message; noteText is in it.
const (
	noteField = 1000
	noteText  = "of the version after"
)

// successor says what a later version speaks.
type successor struct {
	name             string
	protocol, oldest int // added to ours: between brokers
	agentMinor       int // added to ours: with agents

	once    sync.Once
	failure error
	made    release
}

var (
	// next is the release after this one: it works with this one.
	next = &successor{name: "next", protocol: 1, agentMinor: messages.AgentProtocolReach}
	// distant is a release that does not speak our protocols any more.
	distant = &successor{name: "distant", protocol: 2, oldest: 1, agentMinor: messages.AgentProtocolReach + 1}
)

// build makes the programs of a successor, once for all stories.
func (s *successor) build(t *testing.T) release {
	t.Helper()
	require.NoError(t, build(), "go build ./cmd/...")
	s.once.Do(func() { s.failure = s.make() })
	require.NoError(t, s.failure, "build the version %q", s.name)
	return s.made
}

func (s *successor) make() error {
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		return err
	}
	o := overlay{root: root, folder: filepath.Join(scratch, "overlay-"+s.name), Replace: map[string]string{}}
	s.change(&o)
	if err := o.write(); err != nil {
		return err
	}
	out := filepath.Join(scratch, s.name)
	cmd := exec.Command("go", "build", "-overlay", o.file(), "-o", out+string(filepath.Separator),
		"-ldflags", "-X opensessionmanager/internal/version.Version="+s.name, "./cmd/"+brokerProgram, "./cmd/"+agentProgram)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	s.made = release{broker: filepath.Join(out, brokerProgram), agent: filepath.Join(out, agentProgram)}
	return nil
}

// change is the work that was done between the versions.
func (s *successor) change(o *overlay) {
	o.generate(withNotes)
	o.add("messages/next.go", nextSource)
	o.raise("cluster/membership/registry.go", "Protocol", s.protocol)
	o.raise("cluster/membership/registry.go", "OldestProtocol", s.oldest)
	o.raise("messages/versions.go", "AgentProtocolMinor", s.agentMinor)
	// What goes to other brokers, to agents and to the store has the new field.
	o.edit("cluster/fleet/wire.go", "proto.Marshal(msg)", "proto.Marshal(messages.Noted(msg))")
	o.edit("internal/agentproto/agentproto.go", "MarshalAppend(dst, frame)", "MarshalAppend(dst, messages.Noted(frame))")
	o.edit("actors/session_save.go", "proto.Marshal(out.Next.Record())", "proto.Marshal(messages.Noted(out.Next.Record()))")
	o.edit("actors/server.go", "proto.Marshal(next)", "proto.Marshal(messages.Noted(next))")
	// Brokers send each other news, with every message and also unasked; agents and
	// brokers notices.
	o.edit("cluster/fleet/fleet.go", "\t\tf.post(owner.Address, &messages.Envelope{Kind: kind, Id: id, Sender: sender, Member: owner.ID}, msg, 0)\n",
		"\t\tf.post(owner.Address, &messages.Envelope{Kind: kind, Id: id}, &messages.NextNews{}, 0)\n"+
			"\t\tf.post(owner.Address, &messages.Envelope{Kind: kind, Id: id, Sender: sender, Member: owner.ID}, msg, 0)\n")
	o.edit("cluster/fleet/fleet.go", "\tif f.cfg.Moved != nil {\n", "\tgo f.askForNews(now)\n\tif f.cfg.Moved != nil {\n")
	o.edit("cluster/fleet/wire.go", "\tswitch {\n\tcase env.GetActor() == \"\":\n",
		"\tif _, ok := msg.(*messages.NextNews); ok {\n\t\tc.refuse(ctx, env, \"NEWS\", \"\")\n\t\treturn\n\t}\n\tswitch {\n\tcase env.GetActor() == \"\":\n")
	o.add("cluster/fleet/next.go", newsSource)
	o.edit("agent/agent.go", "\ta.current.Store(l)\n", "\t_, _ = l.write(messages.Notice())\n\ta.current.Store(l)\n")
	o.edit("actors/agentlink.go", "l.send(l.helloResponse(&messages.Result{Success: true}))",
		"l.send(l.helloResponse(&messages.Result{Success: true}))\n\tl.send(messages.Notice())")
}

const nextSource = `package messages

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Noted is a copy with the new field in every message of it.
func Noted[M proto.Message](m M) M {
	m = proto.CloneOf(m)
	note(m.ProtoReflect())
	return m
}

func note(m protoreflect.Message) {
	if f := m.Descriptor().Fields().ByName("next_note"); f != nil {
		m.Set(f, protoreflect.ValueOfString("of the version after"))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() || f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := range v.List().Len() {
				note(v.List().Get(i).Message())
			}
		default:
			note(v.Message())
		}
		return true
	})
}

func Notice() *AgentFrame {
	return &AgentFrame{Body: &AgentFrame_NextNotice{NextNotice: &NextNotice{RequestId: "0123456789abcdef0123456789abcdef"}}}
}
`

const newsSource = `package fleet

import (
	"context"
	"fmt"
	"time"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

// askForNews asks one grain of every other broker what only this version knows.
func (f *Fleet) askForNews(v *membership.View) {
	for _, m := range v.Members {
		for i := 0; m.ID != f.self.ID; i++ {
			id := fmt.Sprint("news-", i)
			if owner, _ := v.Owner(messages.KindSession, id); owner.ID != m.ID {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			answer := f.Ask(ctx, []Call{{Kind: messages.KindSession, ID: id, Msg: &messages.NextNews{}}})[0]
			cancel()
			if refusal, ok := answer.(*messages.Refusal); ok {
				f.cfg.Logger.Info("news of " + m.Address + ": " + refusal.GetCode())
			}
			break
		}
	}
}
`

// withNotes adds the new field and the new messages.
func withNotes(file *descriptorpb.FileDescriptorProto) {
	note := func(m *descriptorpb.DescriptorProto) {
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String("next_note"), Number: proto.Int32(noteField),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			JsonName: proto.String("nextNote")})
	}
	switch file.GetName() {
	case "fleet.proto":
		file.MessageType = append(file.MessageType, &descriptorpb.DescriptorProto{Name: proto.String("NextNews")})
	case "agent.proto":
		file.MessageType = append(file.MessageType, &descriptorpb.DescriptorProto{Name: proto.String("NextNotice"),
			Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("request_id"), Number: proto.Int32(1), JsonName: proto.String("requestId"),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()}}})
	}
	for _, m := range file.MessageType {
		note(m)
		if m.GetName() == "AgentFrame" {
			m.Field[len(m.Field)-1] = &descriptorpb.FieldDescriptorProto{Name: proto.String("next_notice"), Number: proto.Int32(noteField),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(),
				TypeName: proto.String(".opensessionmanager.messages.NextNotice"), OneofIndex: proto.Int32(0), JsonName: proto.String("nextNotice")}
		}
	}
}

// overlay is files of the source that a build takes from elsewhere.
type overlay struct {
	root, folder string
	Replace      map[string]string
	texts        map[string]string // by path in the source
	failures     []string
}

func (o *overlay) file() string { return filepath.Join(o.folder, "overlay.json") }

func (o *overlay) add(path, text string) {
	if o.texts == nil {
		o.texts = map[string]string{}
	}
	o.texts[path] = text
}

func (o *overlay) text(path string) string {
	if text, ok := o.texts[path]; ok {
		return text
	}
	text, err := os.ReadFile(filepath.Join(o.root, path))
	if err != nil {
		o.failures = append(o.failures, err.Error())
	}
	return string(text)
}

// edit replaces what stands in a file once.
func (o *overlay) edit(path, old, new string) {
	text := o.text(path)
	if n := strings.Count(text, old); n != 1 {
		o.failures = append(o.failures, fmt.Sprintf("%s has %d times, not once: %s", path, n, old))
	}
	o.add(path, strings.Replace(text, old, new, 1))
}

// raise adds to a constant.
func (o *overlay) raise(path, name string, by int) {
	found := regexp.MustCompile(`(?m)^\t` + name + `\s+= (\d+)$`).FindStringSubmatch(o.text(path))
	if found == nil {
		o.failures = append(o.failures, path+" has no constant "+name)
		return
	}
	value, _ := strconv.Atoi(found[1])
	o.edit(path, found[0], fmt.Sprintf("\t%s = %d", name, value+by))
}

// generate writes the Go of changed .proto files, with the generator that made ours.
func (o *overlay) generate(change func(*descriptorpb.FileDescriptorProto)) {
	request := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("paths=source_relative,Mactor.proto=github.com/asynkron/protoactor-go/actor")}
	for _, file := range []protoreflect.FileDescriptor{messages.File_agent_proto, messages.File_session_proto, messages.File_server_proto,
		messages.File_queue_proto, messages.File_fleet_proto} {
		request.FileToGenerate = append(request.FileToGenerate, file.Path())
		request.ProtoFile = imported(file, request.ProtoFile)
	}
	for _, file := range request.ProtoFile {
		if slices.Contains(request.FileToGenerate, file.GetName()) {
			change(file)
		}
	}
	response, err := o.generator(request)
	if err != nil {
		o.failures = append(o.failures, err.Error())
		return
	}
	for _, file := range response.GetFile() {
		o.add("messages/"+file.GetName(), file.GetContent())
	}
}

func (o *overlay) generator(request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "run", "google.golang.org/protobuf/cmd/protoc-gen-go")
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = o.root, bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w\n%s", err, stderr.Bytes())
	}
	response := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(out, response); err != nil || response.Error != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w %s", err, response.GetError())
	}
	return response, nil
}

// imported has a file behind all that it imports, each once.
func imported(file protoreflect.FileDescriptor, before []*descriptorpb.FileDescriptorProto) []*descriptorpb.FileDescriptorProto {
	for i := range file.Imports().Len() {
		before = imported(file.Imports().Get(i), before)
	}
	if slices.ContainsFunc(before, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == file.Path() }) {
		return before
	}
	return append(before, protodesc.ToFileDescriptorProto(file))
}

// write makes the files and the list of them.
func (o *overlay) write() error {
	if len(o.failures) > 0 {
		return fmt.Errorf("the changes do not fit the source any more:\n%s", strings.Join(o.failures, "\n"))
	}
	if err := os.MkdirAll(o.folder, 0o700); err != nil {
		return err
	}
	for path, text := range o.texts {
		replacement := filepath.Join(o.folder, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(replacement, []byte(text), 0o600); err != nil {
			return err
		}
		o.Replace[filepath.Join(o.root, path)] = replacement
	}
	data, err := json.Marshal(map[string]any{"Replace": o.Replace})
	if err != nil {
		return err
	}
	return os.WriteFile(o.file(), data, 0o600)
}
