package store

type statsCache struct{}
