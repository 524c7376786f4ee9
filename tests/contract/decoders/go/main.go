// Decodes records into generated models. A line of stdin is EventType, class and record; a line of stdout is its outcome.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	_ "github.com/go-viper/mapstructure/v2" // which the models need
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), "\t", 3)
		model := models[words[1]]()
		if err := json.Unmarshal([]byte(words[2]), model); err != nil {
			fmt.Printf("refused\t%s\n", strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		again, err := json.Marshal(model)
		if err != nil {
			panic(err)
		}
		fmt.Printf("kept\t%s\n", again)
	}
}
