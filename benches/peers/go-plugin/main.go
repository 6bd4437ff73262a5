// The peer of the call benchmark: a host and a plugin of hashicorp/go-plugin over net/rpc, in one program.
//
// The host reads a word a line, measures, and prints one number: "call" in microseconds for one call of about 200 bytes,
// "many" in calls a second with 64 in flight, "large" in MiB a second for an echo of 1 MiB.
package main

import (
	"bufio"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
)

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BENCH", MagicCookieValue: "call"}

type echo struct{}

func (echo) Echo(text string, answer *string) error {
	*answer = text
	return nil
}

type echoPlugin struct{}

func (echoPlugin) Server(*plugin.MuxBroker) (interface{}, error) { return echo{}, nil }

func (echoPlugin) Client(_ *plugin.MuxBroker, client *rpc.Client) (interface{}, error) {
	return client, nil
}

var plugins = map[string]plugin.Plugin{"echo": echoPlugin{}}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "plugin" {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins})
		return
	}
	if err := host(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func host() error {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: handshake,
		Plugins:         plugins,
		Cmd:             exec.Command(os.Args[0], "plugin"),
		Logger:          hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Error}),
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense("echo")
	if err != nil {
		return err
	}
	calls := raw.(*rpc.Client)
	fmt.Println(0)
	words := bufio.NewScanner(os.Stdin)
	for words.Scan() {
		value, err := measure(calls, words.Text())
		if err != nil {
			return err
		}
		fmt.Println(value)
	}
	return nil
}

func measure(calls *rpc.Client, word string) (float64, error) {
	switch word {
	case "call":
		count := 2000
		taken, err := sequence(calls, strings.Repeat("x", 100), count)
		return taken.Seconds() * 1e6 / float64(count), err
	case "many":
		return many(calls)
	case "large":
		count := 32
		taken, err := sequence(calls, strings.Repeat("x", 1<<20), count)
		return float64(count) / taken.Seconds(), err
	}
	return 0, fmt.Errorf("unknown word %s", word)
}

func sequence(calls *rpc.Client, text string, count int) (time.Duration, error) {
	var answer string
	begun := time.Now()
	for i := 0; i < count; i++ {
		if err := calls.Call("Plugin.Echo", text, &answer); err != nil {
			return 0, err
		}
		if len(answer) != len(text) {
			return 0, fmt.Errorf("%d bytes came back of %d", len(answer), len(text))
		}
	}
	return time.Since(begun), nil
}

func many(calls *rpc.Client) (float64, error) {
	const inFlight, each = 64, 250
	text := strings.Repeat("x", 100)
	var group sync.WaitGroup
	failed := make(chan error, inFlight)
	begun := time.Now()
	for i := 0; i < inFlight; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			var answer string
			for j := 0; j < each; j++ {
				if err := calls.Call("Plugin.Echo", text, &answer); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	group.Wait()
	taken := time.Since(begun)
	select {
	case err := <-failed:
		return 0, err
	default:
		return inFlight * each / taken.Seconds(), nil
	}
}
