// Package admin is the operator's door: the HTTP API under /api/v1 and the Go client that the operator commands use.
//
// Every request carries the token of the data directory. Bodies are JSON; an error is {"code","message"} and, where
// there are several, "details". People may be named by id or by login name; "name:123" is the user whose name is 123.
package admin
