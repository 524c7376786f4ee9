import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.cfg.CoercionAction;
import com.fasterxml.jackson.databind.cfg.CoercionInputShape;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.type.LogicalType;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Decodes records into generated models. A line of stdin is EventType, class and record; of stdout its outcome. */
public final class Decode {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = JsonMapper.builder()
            .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS) // else "1" is taken for 1
            .withCoercionConfig(LogicalType.Textual, to -> to
                .setCoercion(CoercionInputShape.Integer, CoercionAction.Fail))
            .build();
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split("\t", 3);
            try {
                Object model = json.readValue(words[2], Class.forName("dingtalk." + words[1]));
                out.println("kept\t" + json.writeValueAsString(model));
            } catch (JsonMappingException error) {
                out.println("refused\t" + error.getMessage().replace("\n", " "));
            }
        }
    }
}
