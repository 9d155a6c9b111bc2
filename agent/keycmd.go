package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"

	"firebreak/agent/app"
	"firebreak/agent/wire"
)

const keyUsage = `usage: firebreak key new FILE                            make a signing key
       firebreak key show FILE [--as ROLE --name NAME]  its public half; as a line of trusted keys
       firebreak key trust FILE ROLE NAME KEY [--remove]
       firebreak key rotate FILE [--finish]             make the next key; put it in place of the old one
ROLE is agent (NAME is SITE/AGENT), person or consumer.
`

// key makes, shows and trusts the keys that messages are signed with.
func key(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("firebreak key", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	as, name := fs.String("as", "", ""), fs.String("name", "", "")
	remove, finish := fs.Bool("remove", false, ""), fs.Bool("finish", false, "")
	words := []string{}
	if !parse(fs, args, &words) {
		fmt.Fprint(stderr, keyUsage)
		return 2
	}
	var err error
	switch {
	case len(words) == 2 && words[0] == "new":
		var s *wire.Signer
		if s, err = app.NewKey(words[1]); err == nil {
			fmt.Fprintf(stdout, "key %s is in %s; keep it to yourself. Others are given its public half:\n%s", s.KeyID(), words[1], public(s, *as, *name))
		}
	case len(words) == 2 && words[0] == "show":
		var s *wire.Signer
		if s, err = wire.ReadSigner(words[1]); err == nil {
			fmt.Fprintf(stdout, "# key %s\n%s", s.KeyID(), public(s, *as, *name))
		}
	case len(words) == 5 && words[0] == "trust":
		err = trust(words[1:], *remove, stdout)
	case len(words) == 2 && words[0] == "rotate":
		err = rotate(words[1], *finish, *as, *name, stdout)
	default:
		fmt.Fprint(stderr, keyUsage)
		return 2
	}
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	return 0
}

func public(s *wire.Signer, role, name string) string {
	if role == "" {
		role, name = "ROLE", "NAME"
	}
	return wire.TrustLine(wire.Role(role), name, s.Public()) + "\n"
}

func trust(words []string, remove bool, stdout io.Writer) error {
	changed, err := app.Trust(words[0], strings.Join(words[1:], " "), remove)
	if err != nil {
		return err
	}
	what := map[[2]bool]string{{true, false}: "is trusted now", {true, true}: "is not trusted any more", {false, false}: "was trusted already", {false, true}: "was not trusted"}
	fmt.Fprintf(stdout, "%s %s %s\n", words[1], words[2], what[[2]bool{changed, remove}])
	return nil
}

func rotate(file string, finish bool, as, name string, stdout io.Writer) error {
	if finish {
		s, err := app.FinishRotation(file)
		if err == nil {
			fmt.Fprintf(stdout, "key %s signs from the next connection on; the old one is in %s.old. When all signatures are of the new one, take the old one's line out wherever it is trusted\n", s.KeyID(), file)
		}
		return err
	}
	s, err := app.RotateKey(file)
	if err == nil {
		fmt.Fprintf(stdout, "key %s is in %s.next and signs nothing yet. Trust it wherever the present one is, then: firebreak key rotate %s --finish\n%s", s.KeyID(), file, file, public(s, as, name))
	}
	return err
}

// acl prints an access list for a broker.
func acl(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("firebreak acl", flag.ContinueOnError)
	fs.SetOutput(stderr)
	trusted := fs.String("trusted", "/etc/firebreak/trusted", "`FILE` of trusted keys: whoever is named there gets what its role needs")
	var engine []string
	if !parse(fs, args, &engine) || len(engine) != 1 {
		fmt.Fprintln(stderr, "usage: firebreak acl mosquitto|nats --trusted FILE")
		return 2
	}
	keys, err := wire.ReadRing(*trusted)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		err = fmt.Errorf("%w: --trusted FILE says which; firebreak key trust makes one", err)
	case err == nil:
		err = app.ACL(stdout, engine[0], keys)
	}
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	return 0
}
