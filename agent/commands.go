package agent

import (
	"context"
	"errors"
	"fmt"

	"opensessionmanager/agent/driver"
	"opensessionmanager/messages"
)

// mostPictureBytes bounds the pictures of one answer: base64 makes a third more
// of them, and the whole frame must stay within agentproto.MaxFrameBytes (C26).
const mostPictureBytes = 11 << 20

// perform does one command and returns its answer.
func (a *Agent) perform(ctx context.Context, command *messages.AgentFrame) *messages.AgentFrame {
	limit := a.cfg.Timing.Command
	if command.GetCreateSessionRequest() != nil {
		limit = a.cfg.Timing.Create
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch body := command.Body.(type) {
	case *messages.AgentFrame_CreateSessionRequest:
		session, err := a.create(ctx, body.CreateSessionRequest)
		a.reportSoon()
		answer := a.answer(command, err)
		answer.GetCreateSessionResponse().Session = session
		return answer
	case *messages.AgentFrame_DeleteSessionRequest:
		err := a.remove(ctx, body.DeleteSessionRequest.GetSessionId())
		a.reportSoon()
		return a.answer(command, err)
	case *messages.AgentFrame_SetPermissionsRequest:
		return a.answer(command, a.setPermissions(ctx, body.SetPermissionsRequest))
	case *messages.AgentFrame_ScreenshotRequest:
		images, err := a.screenshot(ctx, body.ScreenshotRequest)
		answer := a.answer(command, err)
		answer.GetScreenshotResponse().Images = images
		return answer
	case *messages.AgentFrame_DescribeRequest:
		return a.answer(command, a.describe(ctx))
	}
	return a.answer(command, driver.ErrUnsupported) // the link lets nothing else through
}

// remove closes a session; one that is not there counts as closed.
func (a *Agent) remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	err := a.cfg.Driver.Close(ctx, id)
	if driver.Code(err) == messages.AgentTimeout {
		if _, lookErr := a.lookAt(ctx, id); errors.Is(lookErr, driver.ErrNotFound) {
			return nil
		}
	}
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}

func (a *Agent) setPermissions(ctx context.Context, request *messages.SetPermissionsRequest) error {
	if err := checkID(request.GetSessionId()); err != nil {
		return err
	}
	if err := checkPermissions(request.GetPermissionsFile()); err != nil {
		return err
	}
	return a.cfg.Driver.SetPermissions(ctx, request.GetSessionId(), request.GetPermissionsFile())
}

func (a *Agent) screenshot(ctx context.Context, request *messages.ScreenshotRequest) ([]*messages.ScreenshotImage, error) {
	if err := checkID(request.GetSessionId()); err != nil {
		return nil, err
	}
	shot := driver.Shot{
		SessionID: request.GetSessionId(),
		MaxWidth:  max(0, request.GetMaxWidth()),
		MaxHeight: max(0, request.GetMaxHeight()),
		Format:    request.GetFormat(),
	}
	switch shot.Format {
	case "":
		shot.Format = "png"
	case "png", "jpeg":
	default:
		return nil, fmt.Errorf("%w: screenshot format must be png or jpeg", driver.ErrUnsupported)
	}
	images, err := a.cfg.Driver.Screenshot(ctx, shot)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, image := range images {
		size += len(image.GetData())
	}
	if size > mostPictureBytes {
		return nil, fmt.Errorf("agent: screenshot has %d bytes, more than %d; ask for a smaller one or for jpeg", size, mostPictureBytes)
	}
	return images, nil
}

// describe reports at once; the answer follows the report on the same connection.
func (a *Agent) describe(ctx context.Context) error {
	l := a.current.Load()
	if l == nil {
		return errors.New("agent: the connection ended")
	}
	return a.reporter.deliver(ctx, l)
}

// answer makes the answer to a command, with the next value of the reply counter:
// it is taken after the effect of the command.
func (a *Agent) answer(command *messages.AgentFrame, err error) *messages.AgentFrame {
	return reply(command, err, a.sequence.Add(1))
}

// reply makes the response that belongs to a command.
func reply(command *messages.AgentFrame, err error, sequence int64) *messages.AgentFrame {
	result := &messages.Result{Success: err == nil, Code: driver.Code(err)}
	if err != nil {
		result.Error = clip(err.Error())
	}
	frame := &messages.AgentFrame{}
	switch body := command.Body.(type) {
	case *messages.AgentFrame_CreateSessionRequest:
		frame.Body = &messages.AgentFrame_CreateSessionResponse{CreateSessionResponse: &messages.CreateSessionResponse{
			RequestId: body.CreateSessionRequest.GetRequestId(), Result: result, Sequence: sequence}}
	case *messages.AgentFrame_DeleteSessionRequest:
		frame.Body = &messages.AgentFrame_DeleteSessionResponse{DeleteSessionResponse: &messages.DeleteSessionResponse{
			RequestId: body.DeleteSessionRequest.GetRequestId(), Result: result, Sequence: sequence}}
	case *messages.AgentFrame_SetPermissionsRequest:
		frame.Body = &messages.AgentFrame_SetPermissionsResponse{SetPermissionsResponse: &messages.SetPermissionsResponse{
			RequestId: body.SetPermissionsRequest.GetRequestId(), Result: result, Sequence: sequence}}
	case *messages.AgentFrame_ScreenshotRequest:
		frame.Body = &messages.AgentFrame_ScreenshotResponse{ScreenshotResponse: &messages.ScreenshotResponse{
			RequestId: body.ScreenshotRequest.GetRequestId(), Result: result, Sequence: sequence}}
	case *messages.AgentFrame_DescribeRequest:
		frame.Body = &messages.AgentFrame_DescribeResponse{DescribeResponse: &messages.DescribeResponse{
			RequestId: body.DescribeRequest.GetRequestId(), Result: result, Sequence: sequence}}
	}
	return frame
}
