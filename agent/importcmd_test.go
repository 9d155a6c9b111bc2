package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/agent/app"
	"firebreak/agent/config"
)

// A list of forty racks becomes tables that the configuration takes without a word against them.
func TestImport(t *testing.T) {
	var list strings.Builder
	list.WriteString("\ufeffname,profile,bus,kind,endpoint,unit,zone,supply,gateway,bus-supply,baud,chip,poll\n# what the electrician wrote\n")
	for rack := 1; rack <= 40; rack++ {
		fmt.Fprintf(&list, "bms-%02d,soltaro-c,gw-%d,modbus-tcp,10.0.3.%d:502,%d,,A,sw-1,B,,,1s\n", rack, rack/10, 10+rack/10, rack)
		fmt.Fprintf(&list, "air-%02d,xy-md02,line-1,modbus-rtu,/dev/ttyUSB0,%d,,,,A,9600,,\n", rack, rack)
	}
	list.WriteString("cab-1,tmp117,i2c-1,i2c,/dev/i2c-1,,,,,A,,0x48,5s\n")
	file := filepath.Join(t.TempDir(), "racks.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(list.String())
	code, out, errs := firebreak("import", file)
	if code != 0 || errs != "" || strings.Count(out, "[[device]]") != 81 || strings.Count(out, "[[bus]]") != 7 {
		t.Fatalf("exit %d, %s\n%s", code, errs, out)
	}
	head := "site = \"s\"\nzone = \"z\"\nagent = \"a\"\njournal = \"/j\"\nstands = { zone = \"x\", feed = \"C\" }\n"
	_, faults := config.Parse("f", []byte(head+out), app.Kinds())
	for _, f := range faults { // a zone without a plan and votes is a fault that a list cannot heal
		if !strings.Contains(f.Text, "plan") && !strings.Contains(f.Text, "vote") && !strings.Contains(f.Text, "stage") {
			t.Errorf("%v", f)
		}
	}
	for _, x := range []struct{ text, says string }{
		{"", ":1: the list is empty"},
		{"name,colour\na,b\n", `:1: there is no column "colour"`},
		{"name,profile,bus,kind,endpoint,unit\nx,nope,b,modbus-tcp,h:1,1\n", `:2: profile: there is no profile "nope"`},
		{"name,profile,bus,kind,endpoint,unit\nx,xy-md02,b,modbus-tcp,h:1,1\ny,xy-md02,b,modbus-tcp,h:1,1\n", ":3: unit: the same as in line 2"},
		{"name,profile,bus,kind,endpoint,unit\nx,xy-md02,b,modbus-tcp,h:1,1\nx,xy-md02,b,modbus-tcp,h:2,2\n", `:3: endpoint: "h:2", and line 2 says "h:1" of the same bus`},
		{"name,profile,bus,kind,endpoint,unit\nx,tmp117,b,modbus-tcp,h:1,1\n", ":2: profile: tmp117 is of a device on i2c"},
		{"name,profile,bus,kind,endpoint,unit\nx,xy-md02,b,can,h:1,300\n", ":2: kind:"},
		{"name,profile,bus,kind,endpoint,unit\nx,xy-md02,b,modbus-tcp,h:1,300\n", ":2: unit:"},
		{"name,profile,bus,kind,endpoint,unit\nx,\"xy\n", ":"},
	} {
		write(x.text)
		if code, out, errs := firebreak("import", file); code != 1 || out != "" || !strings.Contains(errs, file+x.says) {
			t.Errorf("%q: exit %d, %q, %q, want %q", x.text, code, out, errs, x.says)
		}
	}
	if code, _, _ := firebreak("import", file+".no"); code != 2 {
		t.Errorf("a list that is not there: exit %d", code)
	}
}
