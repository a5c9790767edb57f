// Package node puts a TeamTalk node together: the configuration, the one place that builds every part and states every
// seam between them, ordered start and ordered stop. The program and the tests use it alike.
package node
