// Package chatview is the full-screen messenger: it draws what package chat knows, brings it the terminal's keys and the SDK's events,
// and does what it asks for.
package chatview
