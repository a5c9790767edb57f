// Package chat is what a messenger's screen shows, and how it changes: by what the SDK tells, by keys, and by answers to what it asks for.
// It waits for nothing and draws nothing; what is to be done comes out as effects.
package chat
