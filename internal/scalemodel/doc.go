// Package scalemodel is a model of many federated clusters in virtual time: what waits where, for how long, and what limits it, when links fail and
// come back. It sends no bytes: messages are counted through queues with the bounds and rules of docs/FEDERATION.md, by an event heap of its own, and
// what happens by chance comes from a seed. docs/SCALING.md has its tables.
package scalemodel
