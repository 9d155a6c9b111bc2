package wire

import (
	"slices"
	"strings"
	"testing"
)

type channel struct {
	class   Class
	last    string
	schemas []string
	title   string
}

// told are the channels of asyncapi.json: class, last level of the topic, schemas of what goes there.
var told = []channel{
	{Status, "", []string{"status"}, "Birth, will and orderly stop"},
	{Alarm, "alarm", []string{"alarm"}, "The present state of one alarm"},
	{Plan, "plan", []string{"plan"}, "The present state of one plan"},
	{Event, "", []string{"event"}, "Something that happened once"},
	{Hello, "", []string{"hello"}, "A sign of life, every 2 s"},
	{State, "device", []string{"state"}, "One poll of one device"},
	{History, "device", []string{"history"}, "One poll that waited for its broker"},
	{Receipt, "consumer", []string{"receipt"}, "A consumer answers an alarm or a plan"},
	{Cmd, "", []string{"command", "cosigned"}, "An order to the agent"},
}

// levels are the parameters of topics.
var levels = map[string]string{"site": "where the agent is", "zone": "the failure domain in which the agent stands", "agent": "its name",
	"alarm": "name of the alarm, as a level of a topic", "plan": "name of the plan, as a level of a topic", "device": "name of the device, as a level of a topic",
	"consumer": "name of the consumer, as a level of a topic"}

// TestAsyncAPI: docs/asyncapi.json is the tree of topics as the code has it: each class, live and drill, with
// its QoS, whether it is retained, and its schema. What the agent hears has no drill tree.
func TestAsyncAPI(t *testing.T) {
	channels, operations, messages := object{}, object{}, object{}
	for _, c := range told {
		for _, drill := range []bool{false, true} {
			heard := c.class == Receipt || c.class == Cmd
			if heard && drill {
				continue
			}
			addChannel(channels, operations, c.class, drill, heard, c.last, c.schemas, c.title)
		}
		for _, s := range c.schemas {
			messages[s] = object{"name": s, "title": c.title, "contentType": "application/json", "payload": object{
				"schemaFormat": "application/schema+json;version=draft-07", "schema": object{"$ref": "./schemas/" + s + ".json"}}}
		}
	}
	for c := Status; c < Classes; c++ { // a new class is a new channel
		if c != Echo && !slices.ContainsFunc(told, func(k channel) bool { return k.class == c }) {
			t.Errorf("class %s has no channel", c)
		}
	}
	if len(messages) != len(schemas(t)) {
		t.Errorf("%d messages, %d schemas", len(messages), len(schemas(t)))
	}
	file(t, "../../docs/asyncapi.json", object{"asyncapi": "3.1.0", "id": "urn:dev:firebreak:agent", "defaultContentType": "application/json",
		"info": object{"title": "Firebreak agent", "version": "1", "license": object{"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
			"description": "What one agent tells over MQTT 3.1.1 and what it takes. Rules for consumers, signatures and silence: docs/mqtt.md. " +
				"Within the 1 of the topic and of each schema fields are only added; a consumer ignores those that it does not know."},
		"servers": object{"broker": object{"host": "{host}:8883", "protocol": "secure-mqtt", "protocolVersion": "3.1.1",
			"description": "each of the agent's brokers; two at least", "variables": object{"host": object{"description": "of the broker", "examples": []any{"hub.b1.example"}}}}},
		"channels": channels, "operations": operations, "components": object{"messages": messages}})
}

func addChannel(channels, operations object, class Class, drill, heard bool, last string, names []string, title string) {
	id := Identity{Site: "SITE", Zone: "ZONE", Agent: "AGENT"}
	address := id.Topic(class, drill, strings.ToUpper(last))
	params := object{}
	for _, l := range []string{"site", "zone", "agent", last} {
		if l != "" {
			address = strings.Replace(address, "/"+strings.ToUpper(l), "/{"+l+"}", 1)
			params[l] = object{"description": levels[l]}
		}
	}
	name := class.String()
	if drill {
		name, title = "drill-"+name, title+", of a drill"
	}
	in, refs := object{}, []any{}
	for _, s := range names {
		in[s] = object{"$ref": "#/components/messages/" + s}
		refs = append(refs, object{"$ref": "#/channels/" + name + "/messages/" + s})
	}
	channels[name] = object{"address": address, "title": title, "parameters": params, "messages": in}
	action, verb := "send", "tell-"
	if heard {
		action, verb = "receive", "hear-"
	}
	operations[verb+name] = object{"action": action, "channel": object{"$ref": "#/channels/" + name}, "messages": refs,
		"bindings": object{"mqtt": object{"qos": int(class.QoS()), "retain": class.Retained(drill), "bindingVersion": "0.2.0"}}}
}
