import com.dingtalk.api.DefaultDingTalkClient;
import com.dingtalk.api.request.*;
import com.taobao.api.TaobaoRequest;
import com.taobao.api.TaobaoResponse;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** The vendor's SDK as it is, against a simulator: writes a department and a person, says what it read. */
public class VendorSdk {
    private static String base;
    private static String token;
    private static final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    private static <T extends TaobaoResponse> T call(String path, TaobaoRequest<T> request) throws Exception {
        return new DefaultDingTalkClient(base + path).execute(request, token);
    }

    private static void say(Object... values) {
        StringBuilder line = new StringBuilder();
        for (Object value : values) {
            line.append(line.length() == 0 ? "" : "|").append(value);
        }
        out.println(line);
    }

    public static void main(String[] args) throws Exception {
        base = args[0];
        OapiGettokenRequest login = new OapiGettokenRequest();
        login.setAppkey(args[1]);
        login.setAppsecret(args[2]);
        login.setHttpMethod("GET");
        token = call("/gettoken", login).getAccessToken();

        OapiV2DepartmentCreateRequest newDepartment = new OapiV2DepartmentCreateRequest();
        newDepartment.setName("研发一部");
        newDepartment.setParentId(1L);
        newDepartment.setSourceIdentifier("D-1");
        long dept = call("/topapi/v2/department/create", newDepartment).getResult().getDeptId();
        say("again", call("/topapi/v2/department/create", newDepartment).getErrcode());
        OapiV2DepartmentGetRequest department = new OapiV2DepartmentGetRequest();
        department.setDeptId(dept);
        var shown = call("/topapi/v2/department/get", department).getResult();
        say("department", shown.getName(), shown.getParentId(), shown.getSourceIdentifier());

        OapiV2UserCreateRequest newUser = new OapiV2UserCreateRequest();
        newUser.setUserid("oa-1");
        newUser.setName("张三");
        newUser.setMobile("13800000001");
        newUser.setDeptIdList(String.valueOf(dept));
        newUser.setTitle("工程师");
        newUser.setExtension("{\"爱好\":\"旅游\"}");
        var created = call("/topapi/v2/user/create", newUser).getResult();
        say("created", created.getUserid(), created.getUnionId() != null);
        say("again", call("/topapi/v2/user/create", newUser).getErrcode());

        OapiV2UserUpdateRequest update = new OapiV2UserUpdateRequest();
        update.setUserid("oa-1");
        update.setTitle("主管");
        update.setHideMobile(true);
        update.setExtension("{\"车牌\":\"浙A\"}");
        update.putOtherTextParam("ext_attrs_update_mode", "1"); // newer than this SDK
        say("updated", call("/topapi/v2/user/update", update).getErrcode());
        OapiV2DepartmentUpdateRequest lead = new OapiV2DepartmentUpdateRequest();
        lead.setDeptId(dept);
        lead.setDeptManagerUseridList("oa-1");
        say("led", call("/topapi/v2/department/update", lead).getErrcode());

        OapiV2UserGetRequest get = new OapiV2UserGetRequest();
        get.setUserid("oa-1");
        var user = call("/topapi/v2/user/get", get).getResult();
        say("user", user.getName(), user.getTitle(), user.getHideMobile(), user.getDeptIdList().equals(java.util.List.of(dept)),
            user.getLeaderInDept().get(0).getLeader(), user.getExtension());
        OapiV2UserGetbymobileRequest byMobile = new OapiV2UserGetbymobileRequest();
        byMobile.setMobile("13800000001");
        say("by mobile", call("/topapi/v2/user/getbymobile", byMobile).getResult().getUserid());

        OapiV2DepartmentDeleteRequest close = new OapiV2DepartmentDeleteRequest();
        close.setDeptId(dept);
        say("not empty", call("/topapi/v2/department/delete", close).getErrcode());
        OapiV2UserDeleteRequest leave = new OapiV2UserDeleteRequest();
        leave.setUserid("oa-1");
        say("deleted", call("/topapi/v2/user/delete", leave).getErrcode());
        say("gone", call("/topapi/v2/user/get", get).getErrcode());
        say("deleted", call("/topapi/v2/department/delete", close).getErrcode());
    }
}
