// Package e2e holds the tests of the built binary against programs that we did not write: pymodbus
// as the devices, mosquitto as the broker, mosquitto_sub as who is told. They stand behind the build
// tag peers and need the Debian packages that .ci/run installs.
//
// Concurrency: each test has its own ports, directories and processes, and ends and waits for them
// by their ids. Failure: a program that is missing is a failed test, never a skipped one.
package e2e
