package main

import (
	"context"
	"errors"
)

var errNotYet = errors.New("no relay yet")

func posternPlain(context.Context, options, *sink) (relay, error) { return nil, errNotYet }
func posternGo(context.Context, options, *sink) (relay, error)    { return nil, errNotYet }
func posternAuto(context.Context, options, *sink) (relay, error)  { return nil, errNotYet }
