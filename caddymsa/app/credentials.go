package app

import "regexp"

// runIn is where a client that loses line ends has run its AUTH into another command.
var runIn = regexp.MustCompile(`(?i)auth[ \t\r\n]`)

// withoutCredentials cuts a command's argument before credentials that stand in it.
func withoutCredentials(argument string) string {
	if at := runIn.FindStringIndex(argument); at != nil {
		return argument[:at[0]] + "AUTH ****"
	}
	return argument
}
