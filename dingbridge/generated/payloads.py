"""What ``data`` holds, by EventType. Made by ``python -m dev.schemas``; do not edit.

A key that is ``NotRequired`` is absent from some callbacks. Real callbacks may hold more than this, and less:
they are not checked. What each key means is in ``docs/reference/catalogue``.
"""

from typing import Any, NotRequired, TypedDict


class AgoalIndicatorAdd(TypedDict):
    """
    Agoal新增指标事件 · Agoal: indicator added. https://open.dingtalk.com/document/development/events-agoal-indicator-add
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    body: dict[str, Any]


class AgoalIndicatorCopyBody(TypedDict):
    """
    事件内容 · the event's content
    """

    code: NotRequired[str]
    originCode: NotRequired[str]


class AgoalIndicatorCopy(TypedDict):
    """
    Agoal复制指标事件 · Agoal: indicator copied. https://open.dingtalk.com/document/development/events-agoal-indicator-copy
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    body: AgoalIndicatorCopyBody
    event_time: int


class AgoalIndicatorModifyBody(TypedDict):
    """
    事件内容 · the event's content
    """

    code: NotRequired[str]
    id: NotRequired[str]


class AgoalIndicatorModify(TypedDict):
    """
    Agoal修改指标事件 · Agoal: indicator changed. https://open.dingtalk.com/document/development/events-agoal-indicator-modify
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    body: AgoalIndicatorModifyBody
    event_time: int


class AgoalIndicatorRemoveBody(TypedDict):
    """
    事件内容 · the event's content
    """

    code: NotRequired[str]
    id: NotRequired[str]


class AgoalIndicatorRemove(TypedDict):
    """
    Agoal删除指标事件 · Agoal: indicator removed. https://open.dingtalk.com/document/development/events-agoal-indicator-remove
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    body: AgoalIndicatorRemoveBody
    event_time: int


class AgoalObjectiveProgressAddBody(TypedDict):
    """
    事件内容 · the event's content
    """

    progressId: NotRequired[str]
    objectiveId: NotRequired[str]


class AgoalObjectiveProgressAdd(TypedDict):
    """
    Agoal新增目标进展事件 · Agoal: progress of an objective added. https://open.dingtalk.com/document/development/events-agoal-objectiveprogress-add
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveProgressAddBody


class AgoalObjectiveProgressModifyBody(TypedDict):
    """
    事件内容 · the event's content
    """

    progressId: NotRequired[str]
    objectiveId: NotRequired[str]


class AgoalObjectiveProgressModify(TypedDict):
    """
    Agoal修改目标进展事件 · Agoal: progress of an objective changed. https://open.dingtalk.com/document/development/events-agoal-objectiveprogress-modify
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveProgressModifyBody


class AgoalObjectiveProgressRemoveBody(TypedDict):
    """
    事件内容 · the event's content
    """

    progressId: NotRequired[str]
    objectiveId: NotRequired[str]


class AgoalObjectiveProgressRemove(TypedDict):
    """
    Agoal删除目标进展事件 · Agoal: progress of an objective removed. https://open.dingtalk.com/document/development/events-agoal-objectiveprogress-remove
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveProgressRemoveBody


class AgoalObjectiveRuleAddBody(TypedDict):
    """
    事件内容 · the event's content
    """

    objectiveRuleId: NotRequired[str]


class AgoalObjectiveRuleAdd(TypedDict):
    """
    Agoal新增目标规则事件 · Agoal: objective rule added. https://open.dingtalk.com/document/development/events-agoal-objectiverule-add
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveRuleAddBody


class AgoalObjectiveRuleModifyBody(TypedDict):
    """
    事件内容 · the event's content
    """

    objectiveRuleId: NotRequired[str]


class AgoalObjectiveRuleModify(TypedDict):
    """
    Agoal修改目标规则事件 · Agoal: objective rule changed. https://open.dingtalk.com/document/development/events-agoal-objectiverule-modify
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveRuleModifyBody


class AgoalObjectiveRuleRemoveBody(TypedDict):
    """
    事件内容 · the event's content
    """

    objectiveRuleId: NotRequired[str]


class AgoalObjectiveRuleRemove(TypedDict):
    """
    Agoal删除目标规则事件 · Agoal: objective rule removed. https://open.dingtalk.com/document/development/events-agoal-objectiverule-remove
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveRuleRemoveBody


class AgoalObjectiveAddBody(TypedDict):
    """
    事件内容 · the event's content
    """

    dingUserId: NotRequired[str]
    periodId: NotRequired[str]
    objectiveId: NotRequired[str]
    objectiveRuleId: NotRequired[str]


class AgoalObjectiveAdd(TypedDict):
    """
    Agoal个人目标新增事件 · Agoal: personal objective added. https://open.dingtalk.com/document/development/agoal-personal-goals-have-added-new-events
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveAddBody


class AgoalObjectiveChangeBody(TypedDict):
    """
    事件内容 · the event's content
    """

    dingUserId: NotRequired[str]
    periodId: NotRequired[str]
    objectiveId: NotRequired[str]
    objectiveRuleId: NotRequired[str]


class AgoalObjectiveChange(TypedDict):
    """
    Agoal个人目标更新事件 · Agoal: personal objective changed. https://open.dingtalk.com/document/development/agoal-personal-goal-update-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveChangeBody


class AgoalObjectiveRemoveBody(TypedDict):
    """
    事件内容 · the event's content
    """

    periodId: NotRequired[str]
    objectiveId: NotRequired[str]
    objectiveRuleId: NotRequired[str]


class AgoalObjectiveRemove(TypedDict):
    """
    Agoal个人目标删除事件 · Agoal: personal objective removed. https://open.dingtalk.com/document/development/agoal-personal-goal-deletion-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    corpid: str
    bizid: str
    EventTime: NotRequired[int]
    body: AgoalObjectiveRemoveBody


class AiAssistantChange(TypedDict):
    """
    AI助理信息变更 · AI assistant changed. https://open.dingtalk.com/document/development/ai-assistant-information-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    assistantId: str
    unionId: str
    icon: str
    name: str
    action: str


class AiAssistantInstall(TypedDict):
    """
    AI助理安装事件 · AI assistant installed. https://open.dingtalk.com/document/development/ai-assistant-installation-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    unionId: str
    aiAssistantId: str
    name: str
    description: str


class AoneAssistantStatusChange(TypedDict):
    """
    DingTalkA1小助理状态变更 · DingTalk A1: assistant's status changed. https://open.dingtalk.com/document/development/events-aone-assistant-status-change-1
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    agentId: str
    operatorUnionId: str
    agentStatus: str


class AoneAssistantSummaryChangeAgentResultPromptTemplateResultsItem(TypedDict):
    summary: NotRequired[str]
    title: NotRequired[str]
    templateId: NotRequired[str]


class AoneAssistantSummaryChangeAgentResult(TypedDict):
    """
    小助理结果 · the assistant's result
    """

    promptTemplateResults: NotRequired[list[AoneAssistantSummaryChangeAgentResultPromptTemplateResultsItem]]


class AoneAssistantSummaryChange(TypedDict):
    """
    DingTalkA1小助理总结完成事件 · DingTalk A1: assistant finished a summary. https://open.dingtalk.com/document/development/events-aone-assistant-summary-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    agentId: str
    agentResult: AoneAssistantSummaryChangeAgentResult
    creatorUnionId: str
    fileId: str
    minutesId: str


class ApproveOpenGroupExpansionParams(TypedDict):
    """
    参数 · the parameters
    """

    openCid: NotRequired[str]
    groupName: NotRequired[str]
    groupOwner: NotRequired[str]
    remark: NotRequired[str]


class ApproveOpenGroupExpansion(TypedDict):
    """
    专属群扩容审批 · Approval of a larger exclusive group. https://open.dingtalk.com/document/development/exclusive-group-expansion-approval
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    approveType: str
    processInstanceId: str
    CorpId: NotRequired[str]
    approvers: list[str]
    eventType: str
    title: str
    params: ApproveOpenGroupExpansionParams
    url: str
    createTime: int
    staffId: str


class AtsConfigChange(TypedDict):
    """
    招聘业务平台配置变更 · Recruitment: platform configuration changed. https://open.dingtalk.com/document/development/event-ats-config-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    configKey: str
    CorpId: NotRequired[str]
    configValue: str
    gmtModifiedTime: str


class AtsJobDeliverChange(TypedDict):
    """
    招聘平台职位投递变更事件 · Recruitment: application for a job changed. https://open.dingtalk.com/document/development/recruitment-platform-position-delivery-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class AtsRightsChange(TypedDict):
    """
    招聘业务平台权益变更 · Recruitment: platform entitlement changed. https://open.dingtalk.com/document/development/change-of-rights-and-interests-of-recruitment-business-platform
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    CorpId: NotRequired[str]
    bizCode: str
    rightsCode: str
    free: bool
    expiredTime: str


class AtsTalentAutoChatTaskAutoChatSettingVO(TypedDict):
    chatNum: NotRequired[int]
    chatWord: NotRequired[str]


class AtsTalentAutoChatTaskTalentSearchConditionsVO(TypedDict):
    maxSalary: NotRequired[int]
    education: NotRequired[list[int]]
    maxAge: NotRequired[int]
    minAge: NotRequired[int]
    workingYear: NotRequired[list[int]]
    minSalary: NotRequired[int]


class AtsTalentAutoChatTask(TypedDict):
    """
    智能招聘人才直通车任务 · Recruitment: automatic talent chat task. https://open.dingtalk.com/document/development/intelligent-recruitment-talent-through-train-task
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    jobId: str
    CorpId: NotRequired[str]
    configId: str
    autoChatSettingVO: AtsTalentAutoChatTaskAutoChatSettingVO
    talentSearchConditionsVO: AtsTalentAutoChatTaskTalentSearchConditionsVO
    userId: str
    taskId: str


class AttendBossCheckChange(TypedDict):
    """
    考勤结果变更 · Attendance result changed. https://open.dingtalk.com/document/development/change-of-attendance-results
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    workDate: str
    action: str
    planId: str
    userId: str


class AttendGroupChange(TypedDict):
    """
    考勤组变更 · Attendance group changed. https://open.dingtalk.com/document/development/attendance-group-change
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    corpid: str
    name: str
    action: str
    id: str


class AttendShiftChange(TypedDict):
    """
    班次变更 · Shift changed. https://open.dingtalk.com/document/development/intelligent-personnel-shift-change
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    corpid: str
    name: str
    action: str
    id: str


class AttendUserDailySummaryRefresh(TypedDict):
    """
    考勤日统计变更事件 · Daily attendance statistics changed. https://open.dingtalk.com/document/development/attendance-day-statistics-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    workDate: str
    userId: str


class AttendanceApproveStatusChange(TypedDict):
    """
    请假、加班、出差、外出状态变更事件 · Status of leave, overtime, business trip or outing changed. https://open.dingtalk.com/document/development/leave-overtime-business-trip-out-of-office-status-change-events
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    approveType: str
    processInstanceId: str
    mainProcessInstanceId: str
    CorpId: NotRequired[str]
    processCode: str
    status: str


class AttendanceCheckRecordDataListItem(TypedDict):
    address: NotRequired[str]
    corpId: NotRequired[str]
    checkTime: NotRequired[int]
    locationResult: NotRequired[str]
    groupId: NotRequired[Any]
    latitude: NotRequired[float]
    bizId: NotRequired[str]
    locationMethod: NotRequired[str]
    userId: NotRequired[str]
    deviceSN: NotRequired[str]
    checkByUser: NotRequired[bool]
    longitude: NotRequired[float]


class AttendanceCheckRecord(TypedDict):
    """
    员工打卡事件 · Employee clocked in or out. https://open.dingtalk.com/document/development/employee-clock-in-event
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    dataList: list[AttendanceCheckRecordDataListItem]


class AttendanceOvertimeDurationDataListItem(TypedDict):
    workHoursPerDay: NotRequired[int]
    overtimeDayType: NotRequired[str]
    workDate: NotRequired[int]
    overtimeDay: NotRequired[int]
    corpId: NotRequired[str]
    action: NotRequired[str]
    overtimeHour: NotRequired[float]
    vacationRate: NotRequired[float]
    workMinutesPerDay: NotRequired[int]
    userid: NotRequired[str]
    key: NotRequired[str]
    timestamp: NotRequired[int]


class AttendanceOvertimeDuration(TypedDict):
    """
    员工加班事件 · Employee worked overtime. https://open.dingtalk.com/document/development/employee-overtime-events
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    dataList: list[AttendanceOvertimeDurationDataListItem]


class AttendanceReportColumnChange(TypedDict):
    """
    考勤报表字段变更事件 · Column of an attendance report changed. https://open.dingtalk.com/document/development/attendance-report-field-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    CorpId: NotRequired[str]
    columnId: str
    type: str


class AttendanceScheduleChangeDataListItem(TypedDict):
    workDateBegin: NotRequired[Any]
    workDateEnd: NotRequired[Any]
    corpId: NotRequired[str]
    userIds: NotRequired[list[str]]
    type: NotRequired[str]


class AttendanceScheduleChange(TypedDict):
    """
    员工排班变更事件 · Schedule changed. https://open.dingtalk.com/document/development/attendance-events
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    dataList: list[AttendanceScheduleChangeDataListItem]


class BadgeDeviceStatusChange(TypedDict):
    """
    DingTalkB1设备状态变更事件 · DingTalk B1: device status changed. https://open.dingtalk.com/document/development/events-badge-device-status-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    teamCode: str
    sn: str
    type: str
    userId: str
    status: str
    timestamp: int


class BlackboardSentReceivers(TypedDict):
    """
    接收人 · who receives it
    """

    openConversationIds: NotRequired[str]
    labelIds: NotRequired[str]
    staffIds: NotRequired[str]
    dgCodes: NotRequired[str]
    deptIds: NotRequired[str]


class BlackboardSentDentry(TypedDict):
    sourceDentryUuid: NotRequired[str]


class BlackboardSent(TypedDict):
    """
    公告发送 · Announcement sent. https://open.dingtalk.com/document/development/events-blackboard-sent
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    unionId: str
    receivers: BlackboardSentReceivers
    blackboardType: str
    dentry: BlackboardSentDentry
    blackboardId: str
    categoryName: str
    categoryId: str


class BpmsInstanceChange(TypedDict):
    """
    审批实例开始、结束、终止、删除 · Approval instance started, finished, terminated or deleted. https://open.dingtalk.com/document/development/event-bpms-instance-change
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    result: NotRequired[str]
    processInstanceId: str
    finishTime: NotRequired[int]
    createTime: int
    processCode: NotRequired[str]
    bizCategoryId: NotRequired[str]
    businessId: NotRequired[str]
    type: str
    title: str
    businessType: NotRequired[str]
    url: NotRequired[str]
    staffId: str
    CorpId: NotRequired[str]
    resource: NotRequired[str]


class BpmsTaskChange(TypedDict):
    """
    审批任务开始，结束，转交 · Approval task started, finished or handed over. https://open.dingtalk.com/document/development/event-bpms-task-change
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    result: NotRequired[str]
    processInstanceId: str
    finishTime: NotRequired[int]
    createTime: int
    processCode: NotRequired[str]
    bizCategoryId: NotRequired[str]
    businessId: NotRequired[str]
    remark: NotRequired[str]
    type: str
    title: NotRequired[str]
    taskId: NotRequired[str]
    staffId: str
    content: NotRequired[str]
    CorpId: NotRequired[str]
    url: NotRequired[str]
    businessType: NotRequired[str]
    activityId: NotRequired[str]
    activityName: NotRequired[str]
    actualActionerId: NotRequired[str]
    agentActionerIds: NotRequired[list[str]]
    resource: NotRequired[str]


class CalendarEventChangeOperator(TypedDict):
    """
    操作人 · who did it
    """

    type: NotRequired[str]


class CalendarEventChange(TypedDict):
    """
    日程变更 · Calendar event changed. https://open.dingtalk.com/document/development/event-calendar-event-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    calendarEventId: str
    calendarEventUpdateTime: int
    calendarId: str
    unionIdList: list[str]
    changeType: str
    operator: CalendarEventChangeOperator
    legacyCalendarEventId: str


class ChangeAuth(TypedDict):
    """
    企业变更授权范围 · Authorisation of a suite changed. https://open.dingtalk.com/document/development/enterprise-authorization-to-open-application-event-history
    """

    suiteKey: str
    timeStamp: int
    authCorpId: str
    eventId: NotRequired[str]


class ChatAddMember(TypedDict):
    """
    群会话添加人员 · Members joined a group chat. https://open.dingtalk.com/document/development/group-session-add-persons
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    unionId: NotRequired[list[str]]
    chatId: str
    CorpId: NotRequired[str]
    operatorUnionId: NotRequired[str]
    eventType: NotRequired[str]
    userId: list[str]
    openConversationId: str
    operator: NotRequired[str]


class ChatDisband(TypedDict):
    """
    群会话解散群 · Group chat dissolved. https://open.dingtalk.com/document/development/group-session-disband-group
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    chatId: str
    CorpId: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openConversationId: str
    operator: NotRequired[str]


class ChatQuit(TypedDict):
    """
    群会话用户主动退群 · A user left a group chat. https://open.dingtalk.com/document/development/group-session-users-actively-withdraw-from-the-group
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    chatId: str
    CorpId: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openConversationId: str
    operator: NotRequired[str]
    userId: NotRequired[list[str]]
    unionId: NotRequired[list[str]]


class ChatRemoveMember(TypedDict):
    """
    群会话删除人员 · Members removed from a group chat. https://open.dingtalk.com/document/development/group-session-delete-persons
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    unionId: NotRequired[list[str]]
    chatId: str
    CorpId: NotRequired[str]
    operatorUnionId: NotRequired[str]
    userId: list[str]
    openConversationId: str
    operator: NotRequired[str]


class ChatTemplateChange(TypedDict):
    """
    群模板被启用或停用 · Group template enabled or disabled. https://open.dingtalk.com/document/development/group-templates-are-enabled-or-disabled
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    timeStamp: int
    operatorUnionId: NotRequired[str]
    templateId: str
    changedTimeStamp: int
    openConversationId: str
    operator: NotRequired[str]
    status: str


class ChatUpdateOwner(TypedDict):
    """
    群会话更换群主 · Group chat has another owner. https://open.dingtalk.com/document/development/group-session-change-group-master
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    owner: str
    timeStamp: int
    CorpId: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openConversationId: str
    chatId: NotRequired[str]
    operator: NotRequired[str]


class ChatUpdateTitle(TypedDict):
    """
    群会话更换群名称 · Group chat renamed. https://open.dingtalk.com/document/development/group-session-change-group-name
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    chatId: str
    CorpId: NotRequired[str]
    operatorUnionId: NotRequired[str]
    title: str
    openConversationId: str
    operator: NotRequired[str]


class CheckIn(TypedDict):
    """
    用户签到 · User checked in. https://open.dingtalk.com/document/development/event-check-in
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    staffId: str


class CommercialSolution(TypedDict):
    """
    人事商业化方案事件 · HR: commercial solution. https://open.dingtalk.com/document/development/personnel-commercialization-program-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    solutionId: str
    solutionStatus: str


class ContactAddOrg(TypedDict):
    """
    企业增加外部联系人 · External contact added. https://open.dingtalk.com/document/development/enterprise-adds-external-contacts
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    labelIds: list[str]
    shareUserIds: list[str]
    followerUserId: str
    companyName: str
    name: str
    mobile: str
    errmsg: str
    stateCode: str
    userId: str
    shareDeptIds: list[str]


class ContactLeaveOrg(TypedDict):
    """
    企业删除外部联系人 · External contact deleted. https://open.dingtalk.com/document/development/enterprise-delete-external-contacts
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    userId: str


class ContactModifyOrg(TypedDict):
    """
    外部联系人修改 · External contact changed. https://open.dingtalk.com/document/development/external-contact-modification
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    labelIds: list[str]
    shareUserIds: list[str]
    followerUserId: str
    companyName: str
    name: str
    mobile: str
    errmsg: str
    stateCode: str
    userId: str
    shareDeptIds: list[str]


class CrmCustomerTrackTracksItem(TypedDict):
    creator: NotRequired[str]
    corpId: NotRequired[str]
    customerId: NotRequired[str]
    subType: NotRequired[int]
    type: NotRequired[int]
    gmtCreate: NotRequired[int]
    id: NotRequired[str]


class CrmCustomerTrack(TypedDict):
    """
    CRM客户动态 · CRM: customer's activity. https://open.dingtalk.com/document/development/crm-customer-dynamics
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    CorpId: NotRequired[str]
    tracks: list[CrmCustomerTrackTracksItem]


class DeviceBindUpdate(TypedDict):
    """
    智能硬件绑定 · Smart hardware bound. https://open.dingtalk.com/document/development/smart-hardware-binding-stream
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class DingBadgeVerify(TypedDict):
    """
    钉工牌核验事件 · Badge verified. https://open.dingtalk.com/document/development/event-ding-badge-verify
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    codeId: str
    verifyEvent: str
    CorpId: NotRequired[str]
    codeIdentity: str
    verifyLocation: str
    userCorpRelationType: str
    verifyResult: str
    verifyNo: str
    verifyAmount: str
    verifyTime: str
    userIdentity: str


class DingPaasObjectDataCreate(TypedDict):
    """
    主数据实例新增事件 · Master data instance created. https://open.dingtalk.com/document/development/events-ding-paas-object-data-create
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    objectType: str
    dataId: str
    dataType: str


class DingPaasObjectDataDelete(TypedDict):
    """
    主数据实例删除事件 · Master data instance deleted. https://open.dingtalk.com/document/development/event-ding-paas-object-data-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    objectType: str
    dataId: str
    dataType: str


class DingPaasObjectDataUpdate(TypedDict):
    """
    主数据实例更新事件 · Master data instance changed. https://open.dingtalk.com/document/development/event-ding-paas-object-data-update
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    objectType: str
    dataId: str
    dataType: str
    formCode: str


class DingtalkProjection(TypedDict):
    """
    钉钉投屏事件 · Screen projection. https://open.dingtalk.com/document/development/event-dingtalk-projection
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    unionId: str
    projectionConferenceId: str
    projectionCode: str
    projectionBizType: str
    projectionType: str
    sessionId: str
    timestamp: int
    projectionEventType: str


class DocExportCompleted(TypedDict):
    """
    文档导出任务完成事件 · Export of a document completed. https://open.dingtalk.com/document/development/events-doc-export-completed
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    body: dict[str, Any]


class DocSpacesCreateTeam(TypedDict):
    """
    文档知识库中创建小组 · Knowledge base: team created. https://open.dingtalk.com/document/development/event-doc-spaces-create-team
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    unionId: str
    teamId: str
    type: str


class DocSpacesTeamChange(TypedDict):
    """
    文档知识库中小组变更 · Knowledge base: team changed. https://open.dingtalk.com/document/development/event-doc-spaces-team-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    unionId: str
    teamId: str
    type: str


class DocSpacesTeamMemberChangeMember(TypedDict):
    """
    变更的成员 · the member
    """

    memberName: NotRequired[str]
    memberType: NotRequired[str]
    memberId: NotRequired[str]


class DocSpacesTeamMemberChange(TypedDict):
    """
    文档知识库中小组成员变更 · Knowledge base: team members changed. https://open.dingtalk.com/document/development/event-doc-spaces-team-member-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    unionId: str
    teamId: str
    roleCode: str
    member: DocSpacesTeamMemberChangeMember
    type: str


class DviCustomAiAnalysisCompleted(TypedDict):
    """
    智能工牌自定义AI分析项完成事件 · Smart badge: custom AI analysis completed. https://open.dingtalk.com/document/development/events-dvi-custom-ai-analysis-completed
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    entityType: str
    teamCode: str
    outBizData: str
    analysisResult: str
    entityId: str
    userId: str


class DviDeviceOwnerChange(TypedDict):
    """
    AI销售管理设备使用人变更事件 · AI sales: device has another user. https://open.dingtalk.com/document/development/events-dvi-device-owner-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    teamCode: str
    sn: str
    type: str
    userId: str


class EduCardDeleteBody(TypedDict):
    """
    事件内容 · the event's content
    """

    opsType: NotRequired[str]
    corpid: NotRequired[str]
    cardid: NotRequired[int]
    bizid: NotRequired[str]
    operatorName: NotRequired[str]


class EduCardDelete(TypedDict):
    """
    打卡任务删除 · Check-in task deleted. https://open.dingtalk.com/document/development/events-edu-card-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    event_type: str
    corpid: str
    bizid: str
    body: EduCardDeleteBody
    event_time: int


class EduCardUpdateBody(TypedDict):
    """
    事件内容 · the event's content
    """

    opsType: NotRequired[str]
    corpId: NotRequired[str]
    cardId: NotRequired[int]
    bizid: NotRequired[str]
    opertorName: NotRequired[str]


class EduCardUpdate(TypedDict):
    """
    打卡任务更新 · Check-in task changed. https://open.dingtalk.com/document/development/events-edu-card-update
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    event_type: str
    corpid: str
    bizid: str
    body: EduCardUpdateBody
    event_time: int


class EduDeptDelete(TypedDict):
    """
    教育部门删除 · School department deleted. https://open.dingtalk.com/document/development/education-department-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    errmsg: str
    deptId: str
    isGraduate: int


class EduDeptInsert(TypedDict):
    """
    教育部门新增 · School department added. https://open.dingtalk.com/document/development/new-education-sector
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    nick: str
    errcode: int
    chain: str
    contactType: str
    feature: str
    name: str
    errmsg: str
    deptType: str
    deptId: str


class EduDeptUpdate(TypedDict):
    """
    教育部门更新 · School department changed. https://open.dingtalk.com/document/development/education-sector-update
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    nick: str
    errcode: int
    chain: str
    contactType: str
    feature: str
    name: str
    errmsg: str
    deptType: str
    deptId: str


class EduTradePayStatusSync(TypedDict):
    """
    支付状态同步 · Payment status synchronised. https://open.dingtalk.com/document/development/payment-status-synchronization
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    orderType: str
    orderNo: str
    tradeNo: str
    merchantMergeOrderNo: str
    payTime: int
    subject: str
    refundTime: int
    actualAmount: int
    refundStatus: int
    alipayAppId: str
    userId: str
    merchantOrderNo: str
    payType: str
    feature: str
    labelAmount: int
    createTime: int
    merchantId: str
    payLogonId: str
    closeTime: int
    payStatus: int
    refundAmount: int


class EduUserDelete(TypedDict):
    """
    新教育人员删除 · School member deleted. https://open.dingtalk.com/document/development/new-education-staff-deleted
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    role: str
    classId: str
    errmsg: str
    isAdviser: str
    userid: str
    isGraduate: str


class EduUserInsert(TypedDict):
    """
    新教育人员新增 · School member added. https://open.dingtalk.com/document/development/new-education-staff-added
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    role: str
    unionid: str
    studentNo: str
    feature: str
    classId: str
    name: str
    errmsg: str
    userid: str


class EduUserRelationDelete(TypedDict):
    """
    新教育人员关系删除 · Relation of school members deleted. https://open.dingtalk.com/document/development/new-education-staff-relation-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    classId: str
    relationName: str
    fromUserid: str
    relationCode: str
    errmsg: str
    toUserid: str


class EduUserRelationInsert(TypedDict):
    """
    新教育人员关系新增 · Relation of school members added. https://open.dingtalk.com/document/development/new-education-staff-relations-added
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: str
    classId: str
    relationName: str
    fromUserid: str
    relationCode: str
    errmsg: str
    toUserid: str


class EduUserRelationUpdate(TypedDict):
    """
    新教育人员关系更新 · Relation of school members changed. https://open.dingtalk.com/document/development/new-education-staff-relationship-update
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    toUserid: str
    classId: str
    relationName: str
    fromUserid: str
    relationCode: str
    errmsg: str


class EduUserUpdate(TypedDict):
    """
    新教育人员更新 · School member changed. https://open.dingtalk.com/document/development/new-education-staff-update
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    classId: str
    role: str
    unionid: str
    feature: str
    name: str
    errmsg: str
    userid: str


class ExclusiveDataTransfer(TypedDict):
    """
    专属钉钉数据迁移 · Exclusive DingTalk: data transferred. https://open.dingtalk.com/document/development/dedicated-dingtalk-data-migration
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    userId: str
    success: bool


class ExclusiveDeleteTrustedDevice(TypedDict):
    """
    专属可信设备删除推送事件 · Exclusive DingTalk: trusted device deleted. https://open.dingtalk.com/document/development/events-exclusive-delete-trusted-device
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    macAddress: str
    serialNumber: str
    id: str
    title: str
    staffId: str
    platform: str
    status: str


class FlashMinutesOpenEventDirectedOpenConfModel(TypedDict):
    """
    会议信息 · the meeting
    """

    conferenceId: NotRequired[str]
    scheduleConferenceId: NotRequired[str]


class FlashMinutesOpenEventDirected(TypedDict):
    """
    闪记状态变更定向开放事件 · Flash minutes changed, to one app. https://open.dingtalk.com/document/development/events-flash-minutes-open-event-directed
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    openConfModel: FlashMinutesOpenEventDirectedOpenConfModel
    bizType: str
    minutesEventType: str
    minutesTaskId: str


class GoodsTryout(TypedDict):
    """
    商品操作 · Trial of goods. https://open.dingtalk.com/document/development/commodity-operation
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    fromDate: str
    suiteId: str
    itemType: str
    buyerUnionId: str
    CorpId: NotRequired[str]
    endDate: str
    appId: str
    tryoutType: str
    goodsCode: str
    userid: str


HireAgentSourcingTaskChangeCandidateInfoMatchResult = TypedDict(
    'HireAgentSourcingTaskChangeCandidateInfoMatchResult',
    {
        'summary': NotRequired[str],
        'failedHardCriteria': NotRequired[list[str]],
        'pass': NotRequired[bool],
    },
)


class HireAgentSourcingTaskChangeCandidateInfoResumeFile(TypedDict):
    fileName: NotRequired[str]
    downloadUrl: NotRequired[str]
    expiresAt: NotRequired[int]


class HireAgentSourcingTaskChangeCandidateInfo(TypedDict):
    """
    候选人信息 · the candidate
    """

    jobName: NotRequired[str]
    workYears: NotRequired[int]
    education: NotRequired[str]
    sex: NotRequired[int]
    matchResult: NotRequired[HireAgentSourcingTaskChangeCandidateInfoMatchResult]
    resumeFile: NotRequired[HireAgentSourcingTaskChangeCandidateInfoResumeFile]
    dialogueHistory: NotRequired[str]
    disadvantageDesc: NotRequired[str]
    createAt: NotRequired[int]
    jobId: NotRequired[str]
    matchScore: NotRequired[int]
    candidateName: NotRequired[str]
    phone: NotRequired[str]
    aiSummary: NotRequired[str]
    location: NotRequired[str]
    advantageDesc: NotRequired[str]
    age: NotRequired[int]
    email: NotRequired[str]


class HireAgentSourcingTaskChangeTaskInfoJobsItem(TypedDict):
    jobName: NotRequired[str]
    jobId: NotRequired[str]


class HireAgentSourcingTaskChangeTaskInfo(TypedDict):
    """
    任务信息 · the task
    """

    endedAt: NotRequired[int]
    jobs: NotRequired[list[HireAgentSourcingTaskChangeTaskInfoJobsItem]]
    startedAt: NotRequired[int]
    status: NotRequired[str]


class HireAgentSourcingTaskChange(TypedDict):
    """
    AI招聘找简历事件变更 · AI recruitment: search for candidates changed. https://open.dingtalk.com/document/development/events-hire-agent-sourcing-task-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    CorpId: NotRequired[str]
    syncAction: str
    candidateInfo: HireAgentSourcingTaskChangeCandidateInfo
    sourceChannel: str
    scope: str
    ownerUserId: str
    taskName: str
    taskInfo: HireAgentSourcingTaskChangeTaskInfo
    taskId: str


class HonorAudit(TypedDict):
    """
    荣誉审核结果 · Honour reviewed. https://open.dingtalk.com/document/development/honor-review-results
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    honorId: str
    auditStatus: bool
    remark: str


class HonorGrant(TypedDict):
    """
    荣誉授予 · Honour granted. https://open.dingtalk.com/document/development/honor-confer
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    honorId: str
    grantTaskId: str
    grantReason: str
    senderUserid: str
    honorDesc: str
    honorName: str
    optTime: int
    autoWear: str
    receiverUserid: str


class HrbrainTalentPoolAddBody(TypedDict):
    """
    事件内容 · the event's content
    """

    poolTags: NotRequired[list[dict[str, Any]]]


class HrbrainTalentPoolAdd(TypedDict):
    """
    组织大脑人才池新增 · Talent pool added. https://open.dingtalk.com/document/development/events-hrbrain-talent-pool-add
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    syncAction: str
    body: HrbrainTalentPoolAddBody


class HrbrainTalentPoolDelete(TypedDict):
    """
    组织大脑人才池删除 · Talent pool deleted. https://open.dingtalk.com/document/development/events-hrbrain-talent-pool-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    syncAction: str
    body: dict[str, Any]


class HrbrainTalentPoolEditBody(TypedDict):
    """
    事件内容 · the event's content
    """

    poolTags: NotRequired[list[dict[str, Any]]]


class HrbrainTalentPoolEdit(TypedDict):
    """
    组织大脑人才池编辑 · Talent pool changed. https://open.dingtalk.com/document/development/events-hrbrain-talent-pool-edit
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    syncAction: str
    body: HrbrainTalentPoolEditBody


class HrbrainTalentPoolStaffDeleteBody(TypedDict):
    """
    事件内容 · the event's content
    """

    staffList: NotRequired[list[dict[str, Any]]]


class HrbrainTalentPoolStaffDelete(TypedDict):
    """
    组织大脑人才池人员删除 · Staff removed from a talent pool. https://open.dingtalk.com/document/development/events-hrbrain-talent-pool-staff-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    syncAction: str
    body: HrbrainTalentPoolStaffDeleteBody


class HrmAppAuthorize(TypedDict):
    """
    智能人事一体化应用授权 · HR: integrated app authorised. https://open.dingtalk.com/document/development/intelligent-personnel-integration-application-authorization
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    appDataAuthorize: bool


class HrmMdmUserChange(TypedDict):
    """
    人事平台员工异动事件v2 · HR: employee's position changed (v2). https://open.dingtalk.com/document/development/personnel-platform-employee-change-event-v2
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    changeType: int
    staffId: str


class HrmMdmUserInfoChange(TypedDict):
    """
    人事平台员工档案变动事件 · HR: employee's file changed. https://open.dingtalk.com/document/development/personnel-platform-employee-file-change-event-stream
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class HrmSolutionManage(TypedDict):
    """
    人事解决方案变更事件 · HR: solution changed. https://open.dingtalk.com/document/development/personnel-solution-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    CorpId: NotRequired[str]
    staffIds: list[str]
    solutionType: str
    solutionStatus: str


class HrmUserRecordChange(TypedDict):
    """
    人事档案变动 · HR: personnel record changed. https://open.dingtalk.com/document/development/personnel-file-change
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    actionType: str
    staffId: str


class ImCoolAppInstall(TypedDict):
    """
    群内安装酷应用事件 · Cool app installed in a group. https://open.dingtalk.com/document/development/install-cool-application-events-in-the-group
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    coolAppCode: str
    operateTime: str
    openConversationCorpId: str
    robotCode: str
    openConversationId: str
    operator: str


class ImCoolAppUninstall(TypedDict):
    """
    群内卸载酷应用事件 · Cool app removed from a group. https://open.dingtalk.com/document/development/uninstall-cool-app-event-in-group
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    coolAppCode: str
    operateTime: str
    openConversationCorpId: str
    robotCode: str
    openConversationId: str
    operator: str


class IndustryMedicalDeptEvent(TypedDict):
    """
    医疗行业科室医疗组变动 · Medical: department or group changed. https://open.dingtalk.com/document/development/changes-in-medical-departments-and-medical-groups-in-the-medical
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    deptType: str
    type: str
    deptCode: str


class IndustryMedicalDeptPropEvent(TypedDict):
    """
    医疗行业科室医疗组属性变动 · Medical: attribute of a department or group changed. https://open.dingtalk.com/document/development/change-of-attribute-of-medical-group-of-medical-department-in
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    deptType: str
    type: str
    deptCode: str
    propCode: str


class IndustryMedicalFullSync(TypedDict):
    """
    医疗通讯录全量同步 · Medical: full synchronisation of contacts. https://open.dingtalk.com/document/development/full-synchronization-of-medical-address-book
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class IndustryMedicalUserDeptEvent(TypedDict):
    """
    医疗行业用户所在科室医疗组变动 · Medical: a user's department or group changed. https://open.dingtalk.com/document/development/changes-in-the-medical-group-of-the-department-where-the
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    month: str
    deptType: str
    type: str
    deptCode: str
    userCode: str


class IndustryMedicalUserPropEvent(TypedDict):
    """
    医疗行业用户属性变动 · Medical: a user's attribute changed. https://open.dingtalk.com/document/development/user-attribute-change-in-medical-industry
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    type: str
    propCode: str
    userCode: str


class InnerAppRelease(TypedDict):
    """
    企业内部应用发布 · Internal app released. https://open.dingtalk.com/document/development/enterprise-self-built-application-release
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    icon: str
    name: str
    operatorUnionId: str
    unifiedAppId: str
    desc: str


class InnerAppScopesChange(TypedDict):
    """
    企业内部应用可使用范围变更 · Internal app: who may use it changed. https://open.dingtalk.com/document/development/enterprise-self-built-applications-can-be-used-to-change-the-scope
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    roleIds: list[str]
    userIds: list[str]
    operatorUnionId: str
    deptIds: list[str]
    unifiedAppId: str


class InnerAppStatusChange(TypedDict):
    """
    企业内部应用状态变更 · Internal app: status changed. https://open.dingtalk.com/document/development/enterprise-self-built-application-status-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    operatorUnionId: str
    unifiedAppId: str
    status: str


class InnerAppVersionPublish(TypedDict):
    """
    小程序版本发布事件 · Mini program: version published. https://open.dingtalk.com/document/development/enterprise-self-built-application-version-release-events
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    appVersionId: str
    agentId: str
    appVersion: str
    eventSubType: str
    miniAppId: str
    miniAppOnPc: bool


class InnerAppVersionRollback(TypedDict):
    """
    企业自建应用版本回滚事件 · Internal app: version rolled back. https://open.dingtalk.com/document/development/enterprise-self-built-application-version-rollback-events
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    originVersionId: str
    agentId: str
    miniAppId: str
    originVersion: int
    miniAppOnPc: bool
    targetVersion: str
    targetVersionId: str


class IntegrationAppInstallEvent(TypedDict):
    """
    一体化应用安装事件 · Integrated app installed. https://open.dingtalk.com/document/development/all-in-one-application-installation-events
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    orderType: str
    distributorCorpName: str
    suiteId: str
    unionId: str
    discountFee: str
    CorpId: NotRequired[str]
    orderId: str
    syncAction: str
    itemCode: str
    subQuantity: str
    distributorCorpId: str
    itemName: str
    payFee: str
    serviceStopTime: str
    serviceStartTime: str
    suiteKey: str
    goodsCode: str
    paidtime: str
    goodsName: str


class IswUserEventReceived(TypedDict):
    """
    服务号接收用户交互 · Service account: a user's interaction. https://open.dingtalk.com/document/development/service-number-receive-user-interaction
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    toUser: str
    actionType: str
    fromUser: str
    createTime: int
    actionKey: str


class IswUserMsgReceived(TypedDict):
    """
    服务号接收单聊消息 · Service account: a user's message. https://open.dingtalk.com/document/development/service-number-receiving-single-chat-message
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    toUser: str
    msgType: str
    fromUser: str
    createTime: int
    fromUserId: str
    sessionWebhook: str
    msgId: str
    tmpPicUrl: str
    senderNick: str
    sessionWebhookExpiredTime: int
    content: str


class LabelConfAdd(TypedDict):
    """
    增加角色或者角色组 · Role or role group added. https://open.dingtalk.com/document/development/add-a-role-or-role-group
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    scope: str
    labelIdList: list[str]
    timeStamp: NotRequired[int]


class LabelConfDel(TypedDict):
    """
    删除角色或者角色组 · Role or role group deleted. https://open.dingtalk.com/document/development/delete-a-role-or-role-group
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    labelIdList: list[str]
    timeStamp: NotRequired[int]
    scope: NotRequired[str]


class LabelConfModify(TypedDict):
    """
    修改角色或者角色组 · Role or role group changed. https://open.dingtalk.com/document/development/modify-a-role-or-role-group
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    postLabelList: list[str]
    preLabelList: list[str]
    scope: str
    labelIdList: list[str]
    timeStamp: NotRequired[int]


class LabelUserChange(TypedDict):
    """
    员工角色信息发生变更 · Employees' roles changed. https://open.dingtalk.com/document/development/employee-role-information-changes
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    userIdList: list[str]
    action: str
    labelIdList: list[str]
    timeStamp: NotRequired[int]


class LeaveQuotaUpdate(TypedDict):
    """
    手动修改假期余额 · Leave balance changed by hand. https://open.dingtalk.com/document/development/manually-modify-the-holiday-balance
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    leaveCode: str
    opUserId: str
    userId: str
    updateType: str


class LeaveRecordChange(TypedDict):
    """
    假期消费记录变更 · Record of leave consumption changed. https://open.dingtalk.com/document/development/holiday-consumption-record-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    leaveViewUnit: str
    processIdList: list[str]
    corpid: str
    recordNumPerHour: int
    syncAction: str
    userid: str
    recordId: str
    leaveRecordType: str
    sourceType: str
    leaveReason: str
    param0434: float
    leaveCode: str
    startTime: int
    endTime: int
    leaveStatus: str


class LightOpportunityNotice(TypedDict):
    """
    轻量级商机通知 · Lightweight business opportunity. https://open.dingtalk.com/document/development/lightweight-opportunity-notification
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    opportunityType: str
    orgName: str
    customerCorpId: str
    source: str
    goodsCode: str
    userName: str
    demand: str
    goodsName: str


class LiveStatisticDoneEvent(TypedDict):
    """
    直播结束数据处理完成事件 · Live stream: data processed after its end. https://open.dingtalk.com/document/development/event-live-statistic-done-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    finishTime: int
    liveId: str


class LiveStatusChangeEvent(TypedDict):
    """
    直播状态变更 · Live stream: status changed. https://open.dingtalk.com/document/development/event-live-status-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    liveId: str
    liveStatus: int


class LiveUpdateEvent(TypedDict):
    """
    直播信息修改 · Live stream: details changed. https://open.dingtalk.com/document/development/event-live-update-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    coverUrl: str
    preEndTime: int
    title: str
    liveId: str
    preStartTime: int
    introduction: str


class LiveWatchPlaybackEvent(TypedDict):
    """
    直播回放观看数据推送 · Live stream: recording watched. https://open.dingtalk.com/document/development/event-live-watch-playback-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    unionId: str
    name: str
    watchDuration: int
    liveId: str


class MarketAiAgentOrder(TypedDict):
    """
    市场AI助理下单 · App market: AI agent ordered. https://open.dingtalk.com/document/development/events-market-ai-agent-order
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    orderType: str
    discountFee: int
    orderId: str
    itemCode: str
    saleModelType: str
    discount: float
    subQuantity: int
    paidTime: int
    maxOfPeople: int
    presentRelMainOrderId: str
    itemName: str
    payFee: int
    purchaserId: str
    buyCorpName: str
    extendParam: dict[str, Any]
    serviceStopTime: int
    serviceStartTime: int
    appId: str
    goodsCode: str
    orderCreatSource: str
    goodsName: str
    minOfPeople: int
    purchaserType: int


class MarketBuy(TypedDict):
    """
    用户购买下单 · App market: bought. https://open.dingtalk.com/document/development/enterprise-authorization-to-open-application-event-history
    """

    suiteKey: str
    orderId: str
    goodsCode: str
    goodsName: str
    buyCorpId: str
    corpId: str
    itemCode: str
    itemName: str
    subQuantity: int
    maxOfPeople: int
    minOfPeople: int
    serviceStopTime: int
    serviceStartTime: int
    paidtime: int
    orderCreateSource: str
    buyUserId: str
    articleType: str
    originalArticleCode: str
    originalItemCode: str
    payFee: int
    nominalPayFee: int
    discountFee: int
    discount: float
    distributorCorpId: str
    distributorCorpName: str
    orderType: str
    orderChargeType: str
    saleModelType: str
    openId: str
    unionId: str
    outTradeNo: int
    mainGoodsCode: str
    mainGoodsName: str
    orderChannelCode: str
    appId: str
    extendParam: dict[str, Any]
    isvOperationCode: str
    solutionPackageKey: str
    solutionPackageName: str
    mainCorpId: str
    autoChangeFreeItem: bool
    orderLabel: int
    presentRelMainOrderId: str
    leadsFrom: str
    purchaseType: int
    eventId: NotRequired[str]


class MarketOrderExtendParam(TypedDict):
    """
    扩展参数 · further parameters
    """

    name: NotRequired[str]


class MarketOrder(TypedDict):
    """
    应用市场下单 · App market: ordered. https://open.dingtalk.com/document/development/application-market-order
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    orderType: str
    distributorCorpName: str
    discountFee: int
    solutionPackageName: str
    orderId: str
    openId: str
    itemCode: str
    orderLabel: int
    saleModelType: str
    solutionPackageKey: str
    discount: float
    maxOfPeople: int
    autoChangeFreeItem: bool
    purchaseType: int
    distributorCorpId: str
    originalArticleCode: str
    itemName: str
    buyUserId: str
    payFee: int
    serviceStopTime: int
    articleType: str
    serviceStartTime: int
    appId: str
    outTradeNo: str
    suiteKey: str
    orderCreatSource: str
    mainCorpId: str
    mainArticleName: str
    goodsName: str
    minOfPeople: int
    suiteId: str
    unionId: str
    CorpId: NotRequired[str]
    mainArticleCode: str
    subQuantity: int
    originalItemCode: str
    leadsFrom: str
    presentRelMainOrderId: str
    extendParam: MarketOrderExtendParam
    nominalPayFee: int
    isvOperationCode: str
    goodsCode: str
    paidtime: int
    orderChannelCode: str


class MarketOrderRefundEvent(TypedDict):
    """
    应用订单退款事件 · App market: order refunded. https://open.dingtalk.com/document/development/apply-order-refund-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    refundFee: int
    CorpId: NotRequired[str]
    orderId: str
    instanceEndTime: int


class MarketOrderTagOrgProfile(TypedDict):
    isSuggestedAttention: NotRequired[bool]


class MarketOrderTag(TypedDict):
    """
    市场订单标识 · App market: order tagged. https://open.dingtalk.com/document/development/market-order-identification
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    CorpId: NotRequired[str]
    orgProfile: MarketOrderTagOrgProfile
    orderId: str


class MarketServiceClose(TypedDict):
    """
    钉钉交易订购关闭 · Trade subscription closed. https://open.dingtalk.com/document/development/dingtalk-transaction-ordering-closed
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    suiteId: str
    CorpId: NotRequired[str]
    orderId: str
    itemCode: str
    subQuantity: int
    eventType: str
    closeType: int
    itemName: str
    payFee: int
    serviceStopTime: int
    serviceStartTime: int
    suiteKey: str
    goodsCode: str
    goodsName: str


class MarketServiceOpen(TypedDict):
    """
    钉钉交易订购开启 · Trade subscription opened. https://open.dingtalk.com/document/development/dingtalk-transaction-ordering-on
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    suiteId: str
    CorpId: NotRequired[str]
    orderId: str
    itemCode: str
    subQuantity: int
    eventType: str
    openType: int
    itemName: str
    payFee: int
    serviceStopTime: int
    serviceStartTime: int
    suiteKey: str
    goodsCode: str
    goodsName: str


class MeetingAsrResultEventOpenConfModel(TypedDict):
    """
    会议信息 · the meeting
    """

    conferenceId: NotRequired[str]
    scheduleConferenceId: NotRequired[str]


class MeetingAsrResultEventPayloadWordsItem(TypedDict):
    startTime: NotRequired[int]
    text: NotRequired[str]
    endTime: NotRequired[int]


class MeetingAsrResultEventPayload(TypedDict):
    """
    转写内容 · the transcript
    """

    result: NotRequired[str]
    speakerUnionId: NotRequired[str]
    words: NotRequired[list[MeetingAsrResultEventPayloadWordsItem]]
    index: NotRequired[str]
    time: NotRequired[str]
    beginTime: NotRequired[str]


class MeetingAsrResultEventHeader(TypedDict):
    """
    消息头 · the message's head
    """

    messageNo: NotRequired[str]
    name: NotRequired[str]
    messageId: NotRequired[str]


class MeetingAsrResultEvent(TypedDict):
    """
    视频会议ASR转写结果开放事件 · Video meeting: transcript. https://open.dingtalk.com/document/development/events-meeting-asr-result-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    recordId: str
    openConfModel: MeetingAsrResultEventOpenConfModel
    bizType: str
    payload: MeetingAsrResultEventPayload
    header: MeetingAsrResultEventHeader
    timestamp: int


class MeetingAsrResultEventDirectedOpenConfModel(TypedDict):
    """
    会议信息 · the meeting
    """

    conferenceId: NotRequired[str]
    scheduleConferenceId: NotRequired[str]


class MeetingAsrResultEventDirectedPayloadWordsItem(TypedDict):
    startTime: NotRequired[int]
    text: NotRequired[str]
    endTime: NotRequired[int]


class MeetingAsrResultEventDirectedPayload(TypedDict):
    """
    转写内容 · the transcript
    """

    result: NotRequired[str]
    speakerUnionId: NotRequired[str]
    words: NotRequired[list[MeetingAsrResultEventDirectedPayloadWordsItem]]
    index: NotRequired[str]
    time: NotRequired[str]
    beginTime: NotRequired[str]


class MeetingAsrResultEventDirectedHeader(TypedDict):
    """
    消息头 · the message's head
    """

    messageNo: NotRequired[str]
    name: NotRequired[str]
    messageId: NotRequired[str]


class MeetingAsrResultEventDirected(TypedDict):
    """
    视频会议ASR转写结果开放事件定向推送 · Video meeting: transcript, to one app. https://open.dingtalk.com/document/development/asr-transcription-conferences-targeted-event-push
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    recordId: str
    openConfModel: MeetingAsrResultEventDirectedOpenConfModel
    bizType: str
    payload: MeetingAsrResultEventDirectedPayload
    header: MeetingAsrResultEventDirectedHeader
    timestamp: int


class MeetingMemberStatusChangeOpenMemberModelsItem(TypedDict):
    duration: NotRequired[int]
    leaveTime: NotRequired[int]
    deviceType: NotRequired[str]
    pstnJoin: NotRequired[bool]
    joinTime: NotRequired[int]
    userNick: NotRequired[str]
    conferenceId: NotRequired[str]
    attendStatus: NotRequired[int]
    host: NotRequired[bool]
    coHost: NotRequired[bool]
    userId: NotRequired[str]


class MeetingMemberStatusChange(TypedDict):
    """
    视频会议成员状态变更 · Video meeting: member's status changed. https://open.dingtalk.com/document/development/event-meeting-member-status-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    openMemberModels: list[MeetingMemberStatusChangeOpenMemberModelsItem]
    statusSeqNum: int
    changeScene: str


class MeetingMemberStatusChangeTargetPushOpenMemberModelsItem(TypedDict):
    duration: NotRequired[int]
    leaveTime: NotRequired[int]
    deviceType: NotRequired[str]
    pstnJoin: NotRequired[bool]
    joinTime: NotRequired[int]
    userNick: NotRequired[str]
    conferenceId: NotRequired[str]
    attendStatus: NotRequired[int]
    host: NotRequired[bool]
    coHost: NotRequired[bool]
    userId: NotRequired[str]


class MeetingMemberStatusChangeTargetPush(TypedDict):
    """
    视频会议成员状态变更App定向推送 · Video meeting: member's status changed, to one app. https://open.dingtalk.com/document/development/events-meeting-member-status-change-target-push
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    openMemberModels: list[MeetingMemberStatusChangeTargetPushOpenMemberModelsItem]
    statusSeqNum: int
    changeScene: str


class MeetingStatusChangeOpenConfModel(TypedDict):
    """
    会议信息 · the meeting
    """

    calendarEventId: NotRequired[str]
    bizType: NotRequired[str]
    creatorId: NotRequired[str]
    bizScene: NotRequired[str]
    title: NotRequired[str]
    activeNum: NotRequired[int]
    creatorNick: NotRequired[str]
    attendNum: NotRequired[int]
    confDuration: NotRequired[int]
    conferenceId: NotRequired[str]
    startTime: NotRequired[int]
    invitedNum: NotRequired[int]
    scheduleConferenceId: NotRequired[str]
    status: NotRequired[int]


class MeetingStatusChange(TypedDict):
    """
    视频会议状态变更 · Video meeting: status changed. https://open.dingtalk.com/document/development/event-meeting-status-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    openConfModel: MeetingStatusChangeOpenConfModel
    statusSeqNum: int
    changeScene: str


class MeetingStatusChangeTargetPushOpenConfModel(TypedDict):
    """
    会议信息 · the meeting
    """

    bizType: NotRequired[int]
    creatorId: NotRequired[str]
    roomCode: NotRequired[str]
    title: NotRequired[str]
    activeNum: NotRequired[int]
    creatorNick: NotRequired[str]
    attendNum: NotRequired[int]
    confDuration: NotRequired[int]
    conferenceId: NotRequired[str]
    startTime: NotRequired[int]
    endTime: NotRequired[int]
    invitedNum: NotRequired[int]
    externalLinkUrl: NotRequired[str]
    scheduleConferenceId: NotRequired[str]
    status: NotRequired[int]


class MeetingStatusChangeTargetPush(TypedDict):
    """
    视频会议状态变更App定向推送 · Video meeting: status changed, to one app. https://open.dingtalk.com/document/development/events-meeting-status-change-target-push
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    openConfModel: MeetingStatusChangeTargetPushOpenConfModel
    statusSeqNum: int
    changeScene: str


class MeetingroomBook(TypedDict):
    """
    会议室预定事件 · Meeting room booked. https://open.dingtalk.com/document/development/meeting-room-events
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    eventSubType: str
    bookId: str
    roomId: NotRequired[str]
    roomName: NotRequired[str]
    userId: NotRequired[str]
    userName: NotRequired[str]
    CorpId: NotRequired[str]
    preStatus: NotRequired[str]
    isApproval: NotRequired[bool]
    bookTime: NotRequired[str]
    startTime: NotRequired[str]
    endTime: NotRequired[str]


class MeetingroomRoomInfo(TypedDict):
    """
    会议室信息变更事件 · Meeting room changed. https://open.dingtalk.com/document/development/meeting-room-events
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    eventSubType: str
    roomId: str
    roomName: NotRequired[str]
    CorpId: NotRequired[str]
    labels: NotRequired[Any]
    capacity: NotRequired[str]


class OaTimeoutPluginTaskMsg(TypedDict):
    """
    OA限时审批事件变更 · Approval with a time limit changed. https://open.dingtalk.com/document/development/events-oa-timeout-plugin-task-msg
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    msg: str
    activityId: str
    instanceId: str
    CorpId: NotRequired[str]
    processCode: str
    sysParam: dict[str, Any]
    msgTag: str
    taskId: str


class OfficialAccountFollowDataItem(TypedDict):
    name: NotRequired[str]
    type: NotRequired[str]
    userId: NotRequired[str]
    timestamp: NotRequired[int]


class OfficialAccountFollow(TypedDict):
    """
    服务窗关注事件 · Official account followed. https://open.dingtalk.com/document/development/service-window-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    data: list[OfficialAccountFollowDataItem]


class OfficialAccountUnfollowDataItem(TypedDict):
    name: NotRequired[str]
    type: NotRequired[str]
    userId: NotRequired[str]
    timestamp: NotRequired[int]


class OfficialAccountUnfollow(TypedDict):
    """
    服务窗取关事件 · Official account no longer followed. https://open.dingtalk.com/document/development/service-window-close-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    data: list[OfficialAccountUnfollowDataItem]


class OfficialAccountUserDataApplyResultContent(TypedDict):
    """
    内容 · the content
    """

    authorized: NotRequired[bool]


class OfficialAccountUserDataApplyResult(TypedDict):
    """
    用户信息授权结果 · Official account: user's consent to data. https://open.dingtalk.com/document/development/user-information-authorization-result
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    accountId: str
    msgType: str
    userId: str
    content: OfficialAccountUserDataApplyResultContent


class OpenBatchTradeCallback(TypedDict):
    """
    批量支付消息通知 · Batch payment notice. https://open.dingtalk.com/document/development/event-open-batch-trade-callback
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    failCount: int
    gmtFinish: str
    successAmount: float
    paymentAmount: float
    totalAmount: float
    outBatchNo: str
    successCount: int
    alipayTransId: str
    gmtSubmit: str
    failAmount: float
    failReason: str
    payerStaffId: str
    paymentCurrency: str
    status: str


class OpenMeetingRoomCentralControl(TypedDict):
    """
    设备中控事件 · Meeting room: central control. https://open.dingtalk.com/document/development/events-open-meeting-room-central-control
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    deviceUnionId: str
    body: str
    roomId: str


class OpenMeetingRoomDeviceAlarm(TypedDict):
    """
    设备告警事件 · Meeting room: device alarm. https://open.dingtalk.com/document/development/event-open-meeting-room-device-alarm
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    ruleLevel: int
    alarmTime: int
    eventStatus: int
    eventDescription: str
    deviceUnionId: str
    ruleKey: str
    deviceId: str


class OpenMeetingRoomDeviceBindChange(TypedDict):
    """
    设备绑定会议室变更 · Meeting room: device bound to a room. https://open.dingtalk.com/document/development/event-open-meeting-room-device-bind-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    operateTime: int
    openRoomId: str
    deviceUnionId: str
    operatorUnionId: str
    type: str
    deviceId: str


class OpenMeetingRoomDevicePropertyChangePropertiesItem(TypedDict):
    propertyName: NotRequired[str]
    propertyValue: NotRequired[str]


class OpenMeetingRoomDevicePropertyChange(TypedDict):
    """
    设备属性变更 · Meeting room: device property changed. https://open.dingtalk.com/document/development/event-open-meeting-room-device-property-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    changeTime: int
    openRoomId: str
    deviceUnionId: str
    deviceId: str
    properties: list[OpenMeetingRoomDevicePropertyChangePropertiesItem]


class OpenUserAgreementCallback(TypedDict):
    """
    企业金融用户协议回调事件 · Corporate finance: user agreement. https://open.dingtalk.com/document/development/event-open-user-agreement-callback
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    gmtValid: str
    gmtExpire: str
    messageType: str
    agreementNo: str
    gmtSign: str
    payChannelAccountName: str
    payChannelAccountNo: str
    subInstId: str


class OrgAdminAdd(TypedDict):
    """
    用户被设为管理员 · User made an administrator. https://open.dingtalk.com/document/development/user-is-set-as-administrator
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    userId: list[str]
    optStaffId: NotRequired[str]


class OrgAdminRemove(TypedDict):
    """
    通讯录用户被取消设置管理员 · User no longer an administrator. https://open.dingtalk.com/document/development/address-book-user-canceled-setting-administrator
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: int
    userId: list[str]
    optStaffId: NotRequired[str]


class OrgChange(TypedDict):
    """
    企业信息发生变更 · Company's details changed. https://open.dingtalk.com/document/development/enterprise-information-changes
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: NotRequired[int]


class OrgDeptCreate(TypedDict):
    """
    通讯录企业部门创建 · Department created. https://open.dingtalk.com/document/development/create-department-event
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    deptId: NotRequired[list[str]]
    timeStamp: NotRequired[int]
    optStaffId: NotRequired[str]
    errcode: NotRequired[int]
    errmsg: NotRequired[str]
    syncAction: NotRequired[str]
    syncSeq: NotRequired[str]
    id: NotRequired[str]
    name: NotRequired[str]
    parentid: NotRequired[str]
    order: NotRequired[int]
    createDeptGroup: NotRequired[bool]
    autoAddUser: NotRequired[bool]
    deptHiding: NotRequired[bool]
    deptPermits: NotRequired[str]
    deptPerimits: NotRequired[str]
    userPermits: NotRequired[str]
    userPerimits: NotRequired[str]
    outerDept: NotRequired[bool]
    outerPermitDepts: NotRequired[str]
    outerPermitUsers: NotRequired[str]
    orgDeptOwner: NotRequired[str]
    deptManagerUseridList: NotRequired[str]
    groupContainSubDept: NotRequired[bool]
    sourceIdentifier: NotRequired[str]


class OrgDeptModify(TypedDict):
    """
    通讯录企业部门修改 · Department changed. https://open.dingtalk.com/document/development/address-book-enterprise-department-modification
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    deptId: NotRequired[list[str]]
    timeStamp: NotRequired[int]
    optStaffId: NotRequired[str]
    errcode: NotRequired[int]
    errmsg: NotRequired[str]
    syncAction: NotRequired[str]
    syncSeq: NotRequired[str]
    id: NotRequired[str]
    name: NotRequired[str]
    parentid: NotRequired[str]
    order: NotRequired[int]
    createDeptGroup: NotRequired[bool]
    autoAddUser: NotRequired[bool]
    deptHiding: NotRequired[bool]
    deptPermits: NotRequired[str]
    deptPerimits: NotRequired[str]
    userPermits: NotRequired[str]
    userPerimits: NotRequired[str]
    outerDept: NotRequired[bool]
    outerPermitDepts: NotRequired[str]
    outerPermitUsers: NotRequired[str]
    orgDeptOwner: NotRequired[str]
    deptManagerUseridList: NotRequired[str]
    groupContainSubDept: NotRequired[bool]
    sourceIdentifier: NotRequired[str]


class OrgDeptRemove(TypedDict):
    """
    通讯录企业部门删除 · Department removed. https://open.dingtalk.com/document/development/address-book-enterprise-department-delete
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    deptId: NotRequired[list[str]]
    timeStamp: NotRequired[int]
    optStaffId: NotRequired[str]
    errcode: NotRequired[int]
    errmsg: NotRequired[str]
    syncAction: NotRequired[str]
    syncSeq: NotRequired[str]
    id: NotRequired[str]


class OrgFileSendCheckFileRecordsItem(TypedDict):
    openCid: NotRequired[str]
    fileName: NotRequired[str]
    ossKey: NotRequired[str]
    requestId: NotRequired[str]
    userId: NotRequired[str]


class OrgFileSendCheck(TypedDict):
    """
    企业员工发送文件的检测事件 · Check of a file that an employee sends. https://open.dingtalk.com/document/development/detection-event-of-enterprise-employee-sending-file
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    fileRecords: list[OrgFileSendCheckFileRecordsItem]


class OrgMicroAppRemove(TypedDict):
    """
    企业物理删除微应用 · Micro app removed. https://open.dingtalk.com/document/development/enterprise-physical-deletion-of-micro-applications
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    agentId: str


class OrgMicroAppRestore(TypedDict):
    """
    企业逻辑启用微应用 · Micro app enabled. https://open.dingtalk.com/document/development/enterprise-logic-enabled-microapps
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    agentId: str
    suiteKey: NotRequired[str]
    timeStamp: NotRequired[int]
    authCorpId: NotRequired[str]
    appId: NotRequired[str]


class OrgMicroAppScopeUpdate(TypedDict):
    """
    企业微应用可见范围变更 · Micro app: who sees it changed. https://open.dingtalk.com/document/development/enterprise-micro-application-visible-range-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    agentId: str


class OrgMicroAppStop(TypedDict):
    """
    企业逻辑停用微应用 · Micro app disabled. https://open.dingtalk.com/document/development/enterprise-logic-deactivates-microapps
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    agentId: str
    suiteKey: NotRequired[str]
    timeStamp: NotRequired[int]
    authCorpId: NotRequired[str]
    appId: NotRequired[str]


class OrgRemove(TypedDict):
    """
    企业删除 · Company dissolved. https://open.dingtalk.com/document/development/the-organizational-relationship-enterprise-is-deleted
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: NotRequired[int]


class OrgRoleAdd(TypedDict):
    """
    企业增加角色 · Role added. https://open.dingtalk.com/document/development/businesses-increase-roles
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    groupName: str
    roleId: str
    groupId: str
    roleName: str


class OrgRoleModify(TypedDict):
    """
    企业角色变更 · Role changed. https://open.dingtalk.com/document/development/enterprise-role-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    groupName: str
    roleId: str
    groupId: str
    roleName: str


class OrgRoleRemove(TypedDict):
    """
    企业删除角色 · Role deleted. https://open.dingtalk.com/document/development/enterprise-deletes-the-role
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    roleId: str


class OrgSuiteAuthAuthCorpInfo(TypedDict):
    """
    授权企业信息 · the company that authorised
    """

    authChannel: NotRequired[str]
    corpid: NotRequired[str]
    corpType: NotRequired[int]
    fullCorpName: NotRequired[str]
    corpTypeV2: NotRequired[int]
    industry: NotRequired[str]
    corpName: NotRequired[str]
    isAuthenticated: NotRequired[bool]
    licenseCode: NotRequired[str]
    corpLogoUrl: NotRequired[str]
    inviteUrl: NotRequired[str]
    inviteCode: NotRequired[str]
    isEcologicalCorp: NotRequired[bool]
    authLevel: NotRequired[int]
    authChannelType: NotRequired[str]


class OrgSuiteAuthAuthUserInfo(TypedDict):
    """
    授权人信息 · who authorised
    """

    userId: NotRequired[str]


class OrgSuiteAuthAuthScopeAuthOrgScopes(TypedDict):
    authedDept: NotRequired[list[int]]


class OrgSuiteAuthAuthScope(TypedDict):
    """
    授权范围 · what was authorised
    """

    errcode: NotRequired[int]
    authUserField: NotRequired[list[str]]
    authOrgScopes: NotRequired[OrgSuiteAuthAuthScopeAuthOrgScopes]
    errmsg: NotRequired[str]


class OrgSuiteAuthAuthInfoAgentItem(TypedDict):
    agentid: NotRequired[int]
    adminList: NotRequired[list[str]]
    appid: NotRequired[int]
    agentName: NotRequired[str]
    logoUrl: NotRequired[str]


class OrgSuiteAuthAuthInfo(TypedDict):
    """
    授权应用信息 · the apps that were authorised
    """

    agent: NotRequired[list[OrgSuiteAuthAuthInfoAgentItem]]


class OrgSuiteAuth(TypedDict):
    """
    套件授权 · Suite authorised. https://open.dingtalk.com/document/development/event-org-suite-auth
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    authCorpInfo: OrgSuiteAuthAuthCorpInfo
    permanentCode: str
    authUserInfo: OrgSuiteAuthAuthUserInfo
    authScope: OrgSuiteAuthAuthScope
    authInfo: OrgSuiteAuthAuthInfo


class OrgSuiteChangeAuthCorpInfo(TypedDict):
    """
    授权企业信息 · the company that authorised
    """

    authChannel: NotRequired[str]
    corpid: NotRequired[str]
    corpType: NotRequired[int]
    fullCorpName: NotRequired[str]
    corpTypeV2: NotRequired[int]
    industry: NotRequired[str]
    corpName: NotRequired[str]
    isAuthenticated: NotRequired[bool]
    licenseCode: NotRequired[str]
    corpLogoUrl: NotRequired[str]
    inviteUrl: NotRequired[str]
    inviteCode: NotRequired[str]
    isEcologicalCorp: NotRequired[bool]
    authLevel: NotRequired[int]
    authChannelType: NotRequired[str]


class OrgSuiteChangeAuthUserInfo(TypedDict):
    """
    授权人信息 · who authorised
    """

    userId: NotRequired[str]


class OrgSuiteChangeAuthScopeAuthOrgScopes(TypedDict):
    errmsg: NotRequired[str]
    authedDept: NotRequired[list[int]]


class OrgSuiteChangeAuthScope(TypedDict):
    """
    授权范围 · what was authorised
    """

    errcode: NotRequired[int]
    authUserField: NotRequired[list[str]]
    authOrgScopes: NotRequired[OrgSuiteChangeAuthScopeAuthOrgScopes]


class OrgSuiteChangeAuthInfoAgentItem(TypedDict):
    agentid: NotRequired[int]
    adminList: NotRequired[list[str]]
    appid: NotRequired[str]
    agentName: NotRequired[str]
    logoUrl: NotRequired[str]


class OrgSuiteChangeAuthInfo(TypedDict):
    """
    授权应用信息 · the apps that were authorised
    """

    agent: NotRequired[list[OrgSuiteChangeAuthInfoAgentItem]]


class OrgSuiteChange(TypedDict):
    """
    企业授权变更事件 · Suite's authorisation changed. https://open.dingtalk.com/document/development/event-org-suite-relieve
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    authCorpInfo: OrgSuiteChangeAuthCorpInfo
    permanentCode: str
    authUserInfo: OrgSuiteChangeAuthUserInfo
    authScope: OrgSuiteChangeAuthScope
    authInfo: OrgSuiteChangeAuthInfo


class OrgSuiteRelieve(TypedDict):
    """
    企业解除套件授权 · Suite's authorisation withdrawn. https://open.dingtalk.com/document/development/enterprise-release-kit-authorization
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class OrgUpdate(TypedDict):
    """
    企业变更 · Company changed. https://open.dingtalk.com/document/development/event-subscription-for-enterprise-changes
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    corpLogoUrl: str
    corpid: str
    errmsg: str
    industry: str
    corpName: str
    isAuthenticated: bool
    authLevel: int


class OvertimeToVacationData(TypedDict):
    """
    假期数据同步 · Leave data synchronised. https://open.dingtalk.com/document/development/holiday-data-synchronization
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    workHoursPerDay: int
    overtimeDayType: str
    workDate: str
    overtimeDay: float
    CorpId: NotRequired[str]
    delayEndTime: int
    leaveCode: str
    overtimeHour: float
    vacationRate: int
    startTime: int
    endTime: int
    userId: str


class ProjectProjectAppChanged(TypedDict):
    """
    Teambition应用变更事件 · Teambition: project's app changed. https://open.dingtalk.com/document/development/teamposition-application-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class ProjectProjectChanged(TypedDict):
    """
    Teambiton项目变更事件 · Teambition: project changed. https://open.dingtalk.com/document/development/teambiton-project-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class ProjectProjectMemberChanged(TypedDict):
    """
    Teambiton项目成员变更事件 · Teambition: project's members changed. https://open.dingtalk.com/document/development/teamposition-member-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class ProjectProjectUpdated(TypedDict):
    """
    Teambition项目更新事件 · Teambition: project updated. https://open.dingtalk.com/document/development/teamposition-project-update-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class ProjectTaskChanged(TypedDict):
    """
    Teambition项目任务变更事件 · Teambition: project's task changed. https://open.dingtalk.com/document/development/teamposition-project-task-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class ProjectTaskUpdated(TypedDict):
    """
    Teambition任务更新事件 · Teambition: task updated. https://open.dingtalk.com/document/development/teamposition-task-update-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str


class ProjectWorktimeUpdated(TypedDict):
    """
    Teambiton工时变更事件 · Teambition: working time changed. https://open.dingtalk.com/document/development/event-project-worktime-updated
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    eventSubType: str
    executorId: str
    created: str
    approveOpenId: str
    action: str
    dates: str
    userId: str
    updated: str
    workTime: int
    taskId: str
    workTimeIds: list[str]


class RcmChannelMessagePush(TypedDict):
    """
    招聘渠道消息推送开关 · Recruitment channel: messages switched on or off. https://open.dingtalk.com/document/development/recruitment-channel-message-push-switch
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    CorpId: NotRequired[str]
    pluginCode: str
    outId: str
    pushAction: str
    channelAccountId: str
    userId: str


class RobotMsgRead(TypedDict):
    """
    机器人消息已读事件 · Robot's message read. https://open.dingtalk.com/document/development/bot-message-read-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    openConversationId: str
    userId: str
    operatTime: str
    unionId: str
    processQueryKey: str
    robotCode: str


class RobotMsgRecall(TypedDict):
    """
    机器人消息撤回事件 · Robot's message recalled. https://open.dingtalk.com/document/development/bot-message-withdrawal-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    openConversationId: str
    userId: str
    operatTime: int
    unionId: str
    processQueryKey: str
    robotCode: str


class ServicegroupContactJoinGroupFormSpiCrmModelFormDataDINGCUSTOMER(TypedDict):
    dingCustomerId: NotRequired[str]
    customerName: NotRequired[str]


class ServicegroupContactJoinGroupFormSpiCrmModelFormData(TypedDict):
    dINGCUSTOMER: NotRequired[ServicegroupContactJoinGroupFormSpiCrmModelFormDataDINGCUSTOMER]


class ServicegroupContactJoinGroupFormSpiCrmModel(TypedDict):
    """
    客户信息 · the customer's record
    """

    openTeamId: NotRequired[str]
    formScene: NotRequired[str]
    openDataInstanceId: NotRequired[str]
    operateType: NotRequired[str]
    formData: NotRequired[ServicegroupContactJoinGroupFormSpiCrmModelFormData]


class ServicegroupContactJoinGroupForm(TypedDict):
    """
    服务群入群表单保存 · Service group: form on joining saved. https://open.dingtalk.com/document/development/event-servicegroup-contact-join-group-form
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiCrmModel: ServicegroupContactJoinGroupFormSpiCrmModel


class ServicegroupContactRelateCustomerSpiCrmModelFormData(TypedDict):
    belongCustomerId: NotRequired[str]


class ServicegroupContactRelateCustomerSpiCrmModel(TypedDict):
    """
    客户信息 · the customer's record
    """

    openTeamId: NotRequired[str]
    externalBizId: NotRequired[str]
    formScene: NotRequired[str]
    openDataInstanceId: NotRequired[str]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    formData: NotRequired[ServicegroupContactRelateCustomerSpiCrmModelFormData]
    operatorUnionId: NotRequired[str]


class ServicegroupContactRelateCustomer(TypedDict):
    """
    服务群联系人关联客户 · Service group: contact linked to a customer. https://open.dingtalk.com/document/development/event-servicegroup-contact-relate-customer
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiCrmModel: ServicegroupContactRelateCustomerSpiCrmModel


class ServicegroupCustomObjectCreateSpiCrmModelFormData(TypedDict):
    customerType: NotRequired[int]
    customerName: NotRequired[str]


class ServicegroupCustomObjectCreateSpiCrmModel(TypedDict):
    """
    客户信息 · the customer's record
    """

    openTeamId: NotRequired[str]
    externalBizId: NotRequired[str]
    formScene: NotRequired[str]
    openDataInstanceId: NotRequired[str]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    formData: NotRequired[ServicegroupCustomObjectCreateSpiCrmModelFormData]
    operatorUnionId: NotRequired[str]


class ServicegroupCustomObjectCreate(TypedDict):
    """
    服务群自定义表单创建实例 · Service group: instance of a custom form created. https://open.dingtalk.com/document/development/service-group-custom-form-creation-instance
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiCrmModel: ServicegroupCustomObjectCreateSpiCrmModel


class ServicegroupCustomObjectDeleteSpiCrmModel(TypedDict):
    """
    客户信息 · the customer's record
    """

    openTeamId: NotRequired[str]
    externalBizId: NotRequired[str]
    formScene: NotRequired[str]
    openDataInstanceId: NotRequired[str]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]


class ServicegroupCustomObjectDelete(TypedDict):
    """
    服务群自定义表单删除实例 · Service group: instance of a custom form deleted. https://open.dingtalk.com/document/development/service-group-custom-form-delete-instance
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiCrmModel: ServicegroupCustomObjectDeleteSpiCrmModel


class ServicegroupCustomObjectEditSpiCrmModelFormData(TypedDict):
    belongCustomerId: NotRequired[str]


class ServicegroupCustomObjectEditSpiCrmModel(TypedDict):
    """
    客户信息 · the customer's record
    """

    openTeamId: NotRequired[str]
    externalBizId: NotRequired[str]
    formScene: NotRequired[str]
    openDataInstanceId: NotRequired[str]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    formData: NotRequired[ServicegroupCustomObjectEditSpiCrmModelFormData]
    operatorUnionId: NotRequired[str]


class ServicegroupCustomObjectEdit(TypedDict):
    """
    服务群自定义表单更新实例 · Service group: instance of a custom form changed. https://open.dingtalk.com/document/development/service-group-custom-form-update-instance
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiCrmModel: ServicegroupCustomObjectEditSpiCrmModel


class ServicegroupGroupInfoChangeSpiGroupModelOperateData(TypedDict):
    bizId: NotRequired[str]


class ServicegroupGroupInfoChangeSpiGroupModel(TypedDict):
    """
    群信息 · the group
    """

    operateData: NotRequired[ServicegroupGroupInfoChangeSpiGroupModelOperateData]
    openTeamId: NotRequired[str]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openConversationId: NotRequired[str]


class ServicegroupGroupInfoChange(TypedDict):
    """
    服务群群信息变更 · Service group: details changed. https://open.dingtalk.com/document/development/event-servicegroup-group-info-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiGroupModel: ServicegroupGroupInfoChangeSpiGroupModel


class ServicegroupTicketCreateSpiTicketModel(TypedDict):
    """
    工单信息 · the ticket
    """

    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openTicketId: NotRequired[str]


class ServicegroupTicketCreate(TypedDict):
    """
    服务群工单创建 · Service group: ticket created. https://open.dingtalk.com/document/development/service-group-work-order-creation
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiTicketModel: ServicegroupTicketCreateSpiTicketModel


class ServicegroupTicketDealFeedbackSpiTicketModelOperateData(TypedDict):
    dealResult: NotRequired[str]


class ServicegroupTicketDealFeedbackSpiTicketModelOperateMemo(TypedDict):
    memo: NotRequired[str]


class ServicegroupTicketDealFeedbackSpiTicketModel(TypedDict):
    """
    工单信息 · the ticket
    """

    operateData: NotRequired[ServicegroupTicketDealFeedbackSpiTicketModelOperateData]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openTicketId: NotRequired[str]
    operateMemo: NotRequired[ServicegroupTicketDealFeedbackSpiTicketModelOperateMemo]


class ServicegroupTicketDealFeedback(TypedDict):
    """
    服务群工单处理反馈 · Service group: feedback on a ticket. https://open.dingtalk.com/document/development/service-group-work-order-processing-feedback
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiTicketModel: ServicegroupTicketDealFeedbackSpiTicketModel


class ServicegroupTicketMemoAddSpiTicketModelOperateMemoAttachmentsItem(TypedDict):
    fileName: NotRequired[str]
    type: NotRequired[str]
    key: NotRequired[str]


class ServicegroupTicketMemoAddSpiTicketModelOperateMemo(TypedDict):
    attachments: NotRequired[list[ServicegroupTicketMemoAddSpiTicketModelOperateMemoAttachmentsItem]]
    memo: NotRequired[str]


class ServicegroupTicketMemoAddSpiTicketModel(TypedDict):
    """
    工单信息 · the ticket
    """

    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openTicketId: NotRequired[str]
    operateMemo: NotRequired[ServicegroupTicketMemoAddSpiTicketModelOperateMemo]


class ServicegroupTicketMemoAdd(TypedDict):
    """
    服务群工单添加备注 · Service group: note added to a ticket. https://open.dingtalk.com/document/development/service-group-work-order-add-comment
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiTicketModel: ServicegroupTicketMemoAddSpiTicketModel


class ServicegroupTicketReadSpiTicketModelOperateDataTicketSnapshotTakersItem(TypedDict):
    unionId: NotRequired[str]
    nickName: NotRequired[str]


class ServicegroupTicketReadSpiTicketModelOperateDataTicketSnapshotProcessor(TypedDict):
    unionId: NotRequired[str]
    nickName: NotRequired[str]


class ServicegroupTicketReadSpiTicketModelOperateDataTicketSnapshot(TypedDict):
    takers: NotRequired[list[ServicegroupTicketReadSpiTicketModelOperateDataTicketSnapshotTakersItem]]
    stage: NotRequired[str]
    processor: NotRequired[ServicegroupTicketReadSpiTicketModelOperateDataTicketSnapshotProcessor]


class ServicegroupTicketReadSpiTicketModelOperateData(TypedDict):
    operate: NotRequired[str]
    ticketSnapshot: NotRequired[ServicegroupTicketReadSpiTicketModelOperateDataTicketSnapshot]


class ServicegroupTicketReadSpiTicketModel(TypedDict):
    """
    工单信息 · the ticket
    """

    operateData: NotRequired[ServicegroupTicketReadSpiTicketModelOperateData]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openTicketId: NotRequired[str]


class ServicegroupTicketRead(TypedDict):
    """
    服务群工单已读 · Service group: ticket read. https://open.dingtalk.com/document/development/service-group-work-order-read
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiTicketModel: ServicegroupTicketReadSpiTicketModel


class ServicegroupTicketTakeSpiTicketModelOperateDataOriginTakersItem(TypedDict):
    unionId: NotRequired[str]
    nickName: NotRequired[str]


class ServicegroupTicketTakeSpiTicketModelOperateData(TypedDict):
    originTakers: NotRequired[list[ServicegroupTicketTakeSpiTicketModelOperateDataOriginTakersItem]]


class ServicegroupTicketTakeSpiTicketModel(TypedDict):
    """
    工单信息 · the ticket
    """

    operateData: NotRequired[ServicegroupTicketTakeSpiTicketModelOperateData]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openTicketId: NotRequired[str]


class ServicegroupTicketTake(TypedDict):
    """
    服务群工单申领 · Service group: ticket taken. https://open.dingtalk.com/document/development/service-group-work-order-application
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiTicketModel: ServicegroupTicketTakeSpiTicketModel


class ServicegroupTicketUrgeSpiTicketModelOperateDataReceiversItem(TypedDict):
    unionId: NotRequired[str]
    nickName: NotRequired[str]


class ServicegroupTicketUrgeSpiTicketModelOperateData(TypedDict):
    receivers: NotRequired[list[ServicegroupTicketUrgeSpiTicketModelOperateDataReceiversItem]]


class ServicegroupTicketUrgeSpiTicketModelOperateMemoAttachmentsItem(TypedDict):
    fileName: NotRequired[str]
    type: NotRequired[str]
    key: NotRequired[str]


class ServicegroupTicketUrgeSpiTicketModelOperateMemo(TypedDict):
    attachments: NotRequired[list[ServicegroupTicketUrgeSpiTicketModelOperateMemoAttachmentsItem]]
    memo: NotRequired[str]


class ServicegroupTicketUrgeSpiTicketModel(TypedDict):
    """
    工单信息 · the ticket
    """

    operateData: NotRequired[ServicegroupTicketUrgeSpiTicketModelOperateData]
    operateType: NotRequired[str]
    operatorNickName: NotRequired[str]
    operatorUnionId: NotRequired[str]
    openTicketId: NotRequired[str]
    operateMemo: NotRequired[ServicegroupTicketUrgeSpiTicketModelOperateMemo]


class ServicegroupTicketUrge(TypedDict):
    """
    服务群工单催办 · Service group: ticket urged. https://open.dingtalk.com/document/development/service-group-work-order-reminder
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spiTicketModel: ServicegroupTicketUrgeSpiTicketModel


class ServicegroupVocTopicDetailBodyBizData(TypedDict):
    openTeamId: NotRequired[str]
    titleSenderNick: NotRequired[str]
    corpId: NotRequired[str]
    groupId: NotRequired[str]
    channel: NotRequired[str]
    source: NotRequired[str]
    title: NotRequired[str]
    openConversationId: NotRequired[str]
    orgId: NotRequired[str]
    labels: NotRequired[str]
    groupName: NotRequired[str]
    titleCreateAt: NotRequired[str]
    participantsNum: NotRequired[str]
    titleSenderRole: NotRequired[str]
    teamId: NotRequired[str]
    bizTopic: NotRequired[str]
    topic: NotRequired[str]
    chatContext: NotRequired[str]
    msgCount: NotRequired[str]
    uniqueId: NotRequired[str]
    titleSenderUuid: NotRequired[str]


class ServicegroupVocTopicDetailBody(TypedDict):
    """
    事件内容 · the event's content
    """

    bizData: NotRequired[ServicegroupVocTopicDetailBodyBizData]


class ServicegroupVocTopicDetail(TypedDict):
    """
    弹内服务群话题变更事件 · Service group: topic changed. https://open.dingtalk.com/document/development/internal-cloud-service-group-topic-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    body: ServicegroupVocTopicDetailBody


class ShopGroupEvent(TypedDict):
    """
    门店通门店分组事件 · Shops: group changed. https://open.dingtalk.com/document/development/stores-through-stores-grouping-events
    """

    eventTime: int
    corpId: str
    bizId: str
    eventId: str
    BizId: NotRequired[str]
    storeIdList: list[str]
    id: str
    type: str


class ShopNodeEvent(TypedDict):
    """
    门店通节点变更事件 · Shops: node changed. https://open.dingtalk.com/document/development/store-pass-node-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    code: str
    id: str
    type: str


class ShopRoleEvent(TypedDict):
    """
    门店通业务角色变更事件 · Shops: business role changed. https://open.dingtalk.com/document/development/store-general-business-role-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    userIdList: list[str]
    roleId: str
    type: str


class SingleConversationCoolAppInstall(TypedDict):
    """
    单聊安装酷应用 · Cool app installed in a one-to-one chat. https://open.dingtalk.com/document/development/single-chat-install-cool-app
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    singleChatOtherUserId: str
    coolAppCode: str
    operateTime: str
    openConversationCorpId: str
    robotCode: str
    openConversationId: str
    operator: str


class SingleConversationCoolAppUninstall(TypedDict):
    """
    单聊卸载酷应用 · Cool app removed from a one-to-one chat. https://open.dingtalk.com/document/development/single-chat-uninstall-cool-application
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    singleChatOtherUserId: str
    coolAppCode: str
    operateTime: str
    openConversationCorpId: str
    robotCode: str
    openConversationId: str
    operator: str


class SmartFinanceApplicationInvoiceUpdateInvoiceListItem(TypedDict):
    amount: NotRequired[float]
    electronicUrl: NotRequired[str]
    drewDate: NotRequired[str]
    invoiceNo: NotRequired[str]
    taxAmount: NotRequired[str]
    amountWithTax: NotRequired[float]
    invoiceCode: NotRequired[str]


class SmartFinanceApplicationInvoiceUpdate(TypedDict):
    """
    开票申请单关联发票数据变更 · Smart finance: invoices of an application changed. https://open.dingtalk.com/document/development/invoice-data-associated-with-invoicing-requisition-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    invoiceList: list[SmartFinanceApplicationInvoiceUpdateInvoiceListItem]
    instanceId: str
    source: str
    type: str


class SmartFinanceCategoryChangeCategory(TypedDict):
    """
    收支类别 · the category
    """

    code: NotRequired[str]
    createTime: NotRequired[int]
    parentCode: NotRequired[str]
    name: NotRequired[str]
    dir: NotRequired[str]
    type: NotRequired[str]


class SmartFinanceCategoryChange(TypedDict):
    """
    钉钉智能财务收支类别信息变更事件 · Smart finance: category changed. https://open.dingtalk.com/document/development/dingtalk-intelligent-financial-revenue-and-expenditure-category-information-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    changeType: str
    category: SmartFinanceCategoryChangeCategory


class SmartFinanceCompanyInfoChangeCompanyInfo(TypedDict):
    """
    企业信息 · the company
    """

    taxNature: NotRequired[str]
    companyName: NotRequired[str]
    taxNo: NotRequired[str]


class SmartFinanceCompanyInfoChange(TypedDict):
    """
    智能财务企业信息变更 · Smart finance: company's details changed. https://open.dingtalk.com/document/development/intelligent-financial-enterprise-information-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    companyInfo: SmartFinanceCompanyInfoChangeCompanyInfo
    changeType: str


class SmartFinanceCustomerChangeCustomerInfo(TypedDict):
    """
    客户信息 · the customer
    """

    userDefineCode: NotRequired[str]
    code: NotRequired[str]
    corpId: NotRequired[str]
    createTime: NotRequired[int]
    purchaserTaxNo: NotRequired[str]
    purchaserAccount: NotRequired[str]
    name: NotRequired[str]
    description: NotRequired[str]
    purchaserTel: NotRequired[str]
    purchaserAddress: NotRequired[str]
    purchaserName: NotRequired[str]
    purchaserBankName: NotRequired[str]


class SmartFinanceCustomerChange(TypedDict):
    """
    钉钉智能财务客户信息变更事件 · Smart finance: customer changed. https://open.dingtalk.com/document/development/dingtalk-intelligent-financial-customer-information-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    changeType: str
    customerInfo: SmartFinanceCustomerChangeCustomerInfo


class SmartFinanceDefineDataInfoChangeDefineDataInfo(TypedDict):
    """
    自定义档案数据 · the custom record's data
    """

    defineCode: NotRequired[str]
    name: NotRequired[str]
    remark: NotRequired[str]
    parentDataCode: NotRequired[str]
    dataCode: NotRequired[str]
    status: NotRequired[str]


class SmartFinanceDefineDataInfoChange(TypedDict):
    """
    钉钉智能财务自定义档案数据信息变更事件 · Smart finance: data of a custom record changed. https://open.dingtalk.com/document/development/dingtalk-intelligent-financial-custom-file-data-information-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    defineDataInfo: SmartFinanceDefineDataInfoChangeDefineDataInfo
    changeType: str


class SmartFinanceDefineInfoChangeDefineInfo(TypedDict):
    """
    自定义档案 · the custom record
    """

    defineCode: NotRequired[str]
    name: NotRequired[str]
    remark: NotRequired[str]


class SmartFinanceDefineInfoChange(TypedDict):
    """
    钉钉智能财务自定义档案信息变更事件 · Smart finance: custom record changed. https://open.dingtalk.com/document/development/dingtalk-intelligent-financial-custom-profile-information-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    defineInfo: SmartFinanceDefineInfoChangeDefineInfo
    changeType: str


class SmartFinanceFormChange(TypedDict):
    """
    智能财务审批模版变更事件 · Smart finance: approval template changed. https://open.dingtalk.com/document/development/smart-financial-approval-template-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    suiteId: str
    CorpId: NotRequired[str]
    formCode: str
    changeType: str


class SmartFinanceMultiCompanyInfoChangeCompanyInfoAdvancedSettingListItem(TypedDict):
    advancedSettingName: NotRequired[str]
    advancedSettingKey: NotRequired[str]
    deadline: NotRequired[str]
    value: NotRequired[bool]


class SmartFinanceMultiCompanyInfoChangeCompanyInfo(TypedDict):
    """
    企业信息 · the company
    """

    companyCode: NotRequired[str]
    advancedSettingList: NotRequired[list[SmartFinanceMultiCompanyInfoChangeCompanyInfoAdvancedSettingListItem]]
    creator: NotRequired[str]
    taxNature: NotRequired[str]
    companyName: NotRequired[str]
    remark: NotRequired[str]
    taxNo: NotRequired[str]
    status: NotRequired[str]


class SmartFinanceMultiCompanyInfoChangeBeforeCompanyInfoAdvancedSettingListItem(TypedDict):
    advancedSettingName: NotRequired[str]
    advancedSettingKey: NotRequired[str]
    deadline: NotRequired[str]
    value: NotRequired[bool]


class SmartFinanceMultiCompanyInfoChangeBeforeCompanyInfo(TypedDict):
    """
    变更前的企业信息 · the company before
    """

    companyCode: NotRequired[str]
    advancedSettingList: NotRequired[list[SmartFinanceMultiCompanyInfoChangeBeforeCompanyInfoAdvancedSettingListItem]]
    creator: NotRequired[str]
    taxNature: NotRequired[str]
    companyName: NotRequired[str]
    remark: NotRequired[str]
    taxNo: NotRequired[str]
    status: NotRequired[str]


class SmartFinanceMultiCompanyInfoChange(TypedDict):
    """
    智能财务企业多主体信息变更 · Smart finance: details of a company's entity changed. https://open.dingtalk.com/document/development/intelligent-financial-enterprise-multi-subject-information-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    companyInfo: SmartFinanceMultiCompanyInfoChangeCompanyInfo
    changeType: str
    beforeCompanyInfo: SmartFinanceMultiCompanyInfoChangeBeforeCompanyInfo


class SmartFinanceProductChangeDataProductInfo(TypedDict):
    userDefineCode: NotRequired[str]
    modifiedTime: NotRequired[int]
    unit: NotRequired[str]
    productCode: NotRequired[str]
    corpId: NotRequired[str]
    createTime: NotRequired[int]
    name: NotRequired[str]
    description: NotRequired[str]
    specification: NotRequired[str]


class SmartFinanceProductChangeData(TypedDict):
    """
    事件内容 · the event's content
    """

    changeType: NotRequired[str]
    productInfo: NotRequired[SmartFinanceProductChangeDataProductInfo]


class SmartFinanceProductChange(TypedDict):
    """
    钉钉智能财务商品信息变更事件 · Smart finance: product changed. https://open.dingtalk.com/document/development/dingtalk-intelligent-financial-commodity-information-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    data: SmartFinanceProductChangeData


class SmartFinanceProjectChangeProjectInfo(TypedDict):
    """
    项目信息 · the project
    """

    userDefineCode: NotRequired[str]
    code: NotRequired[str]
    corpId: NotRequired[str]
    createTime: NotRequired[int]
    name: NotRequired[str]
    description: NotRequired[str]


class SmartFinanceProjectChange(TypedDict):
    """
    钉钉智能财务项目信息变更事件 · Smart finance: project changed. https://open.dingtalk.com/document/development/dingtalk-intelligent-financial-project-information-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    projectInfo: SmartFinanceProjectChangeProjectInfo
    changeType: str


class SmartFinanceRoleMemberChange(TypedDict):
    """
    钉钉智能财务角色成员变更事件 · Smart finance: role's members changed. https://open.dingtalk.com/document/development/dingtalk-smart-finance-role-member-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    addUserIdList: list[str]
    roleCode: str
    changeType: str
    finalUserIdList: list[str]
    removeUserIdList: list[str]


class SmartFinanceSupplierChangeSupplierInfo(TypedDict):
    """
    供应商信息 · the supplier
    """

    userDefineCode: NotRequired[str]
    code: NotRequired[str]
    corpId: NotRequired[str]
    createTime: NotRequired[int]
    name: NotRequired[str]
    description: NotRequired[str]


class SmartFinanceSupplierChange(TypedDict):
    """
    钉钉智能财务供应商信息变更事件 · Smart finance: supplier changed. https://open.dingtalk.com/document/development/dingtalk-intelligent-financial-supplier-information-change-event
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    changeType: str
    supplierInfo: SmartFinanceSupplierChangeSupplierInfo


class StorageDentryCreate(TypedDict):
    """
    文件或文件夹添加 · File or folder added. https://open.dingtalk.com/document/development/event-storage-dentry-create
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spaceId: str
    dentryId: str
    eventScope: str
    extension: str
    unionId: str
    eventScopeId: str
    type: str


class StorageDentryDelete(TypedDict):
    """
    文件或文件夹删除 · File or folder deleted. https://open.dingtalk.com/document/development/event-storage-dentry-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spaceId: str
    dentryId: str
    eventScope: str
    extension: str
    unionId: str
    eventScopeId: str
    type: str


class StorageDentryUpdate(TypedDict):
    """
    文件更新 · File changed. https://open.dingtalk.com/document/development/event-storage-dentry-update
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    spaceId: str
    dentryId: str
    eventScope: str
    extension: str
    unionId: str
    eventScopeId: str
    type: str


class SuiteRelieve(TypedDict):
    """
    企业解除授权 · Suite's authorisation withdrawn. https://open.dingtalk.com/document/development/enterprise-authorization-to-open-application-event-history
    """

    suiteKey: str
    timeStamp: int
    authCorpId: str
    eventId: NotRequired[str]


class SuiteTicket(TypedDict):
    """
    套件票据 · Suite ticket. https://open.dingtalk.com/document/development/event-suite-ticket
    """

    eventTime: NotRequired[int]
    corpId: NotRequired[str]
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    suiteTicket: str
    suiteKey: NotRequired[str]
    timeStamp: NotRequired[int]


class TmpAuthCode(TypedDict):
    """
    企业授权套件的临时授权码 · Suite authorised: temporary code. https://open.dingtalk.com/document/development/enterprise-authorization-to-open-application-event-history
    """

    suiteKey: str
    timeStamp: int
    authCorpId: str
    authCode: str
    eventId: NotRequired[str]


class TodoTaskCreate(TypedDict):
    """
    待办任务新增 · To-do created. https://open.dingtalk.com/document/development/event-todo-task-create
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    bizTag: str
    taskId: str
    unionIdList: list[str]


class TodoTaskDelete(TypedDict):
    """
    待办任务删除 · To-do deleted. https://open.dingtalk.com/document/development/event-todo-task-delete
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    taskId: str
    unionIdList: list[str]


class TodoTaskUpdate(TypedDict):
    """
    待办任务更新 · To-do changed. https://open.dingtalk.com/document/development/event-todo-task-update
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    bizTag: str
    taskId: str
    unionIdList: list[str]


class TrainCourseUserInfoLearnContentItem(TypedDict):
    learnTime: NotRequired[int]
    uuid: NotRequired[str]
    userId: NotRequired[str]


class TrainCourseUserInfo(TypedDict):
    """
    培训学习记录同步事件 · Training: learning record. https://open.dingtalk.com/document/development/training-learning-record-sync-events
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    courseId: str
    learnContent: list[TrainCourseUserInfoLearnContentItem]


class TransferContactIdJobResult(TypedDict):
    """
    异步转译通讯录id任务完成通知 · Translation of contact ids finished. https://open.dingtalk.com/document/development/asynchronous-translation-address-book-id-task-completion-notification
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    jobId: str
    status: str


class UserActiveOrg(TypedDict):
    """
    加入企业后用户激活 · User activated after joining. https://open.dingtalk.com/document/development/user-activation-after-joining-the-enterprise
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    userId: list[str]
    timeStamp: NotRequired[int]
    optStaffId: NotRequired[str]


class UserAddOrgUnionEmpExtUnionEmpMapListItem(TypedDict):
    corpId: NotRequired[str]
    staffId: NotRequired[str]


class UserAddOrgUnionEmpExt(TypedDict):
    """
    关联企业的员工信息 · the employee in linked companies
    """

    corpId: NotRequired[str]
    unionEmpMapList: NotRequired[list[UserAddOrgUnionEmpExtUnionEmpMapListItem]]
    staffId: NotRequired[str]


class UserAddOrg(TypedDict):
    """
    企业增加员工事件 · Employee joined. https://open.dingtalk.com/document/development/enterprise-increases-employee-events
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: NotRequired[int]
    userId: NotRequired[list[str]]
    optStaffId: NotRequired[str]
    errcode: NotRequired[int]
    errmsg: NotRequired[str]
    syncAction: NotRequired[str]
    unionid: NotRequired[str]
    userid: NotRequired[str]
    name: NotRequired[str]
    active: NotRequired[bool]
    avatar: NotRequired[str]
    isAdmin: NotRequired[bool]
    isBoss: NotRequired[bool]
    isSenior: NotRequired[bool]
    isHide: NotRequired[bool]
    jobnumber: NotRequired[str]
    position: NotRequired[str]
    department: NotRequired[list[int]]
    orderInDepts: NotRequired[str]
    isLeaderInDepts: NotRequired[str]
    dingId: NotRequired[str]
    unionEmpExt: NotRequired[UserAddOrgUnionEmpExt]
    exclusiveAccount: NotRequired[bool]
    realAuthed: NotRequired[bool]
    roles: NotRequired[list[dict[str, Any]]]
    tags: NotRequired[dict[str, Any]]
    managerUserid: NotRequired[str]
    syncSeq: NotRequired[str]
    hiredDate: NotRequired[int]


class UserDeptChangeUnionEmpExtUnionEmpMapListItem(TypedDict):
    corpId: NotRequired[str]
    staffId: NotRequired[str]


class UserDeptChangeUnionEmpExt(TypedDict):
    """
    关联企业的员工信息 · the employee in linked companies
    """

    corpId: NotRequired[str]
    unionEmpMapList: NotRequired[list[UserDeptChangeUnionEmpExtUnionEmpMapListItem]]
    staffId: NotRequired[str]


class UserDeptChange(TypedDict):
    """
    企业修改员工部门后员工信息事件 · Employee's department changed. https://open.dingtalk.com/document/development/employee-information-event-after-enterprise-modifies-employee-department
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    unionEmpExt: UserDeptChangeUnionEmpExt
    unionid: str
    exclusiveAccount: bool
    orderInDepts: str
    dingId: str
    active: bool
    errmsg: str
    avatar: str
    isAdmin: bool
    userid: str
    isHide: bool
    jobnumber: str
    isLeaderInDepts: str
    isBoss: bool
    isSenior: bool
    name: str
    position: str
    department: list[int]
    realAuthed: bool


class UserLeaveOrg(TypedDict):
    """
    企业删除员工 · Employee left. https://open.dingtalk.com/document/development/enterprise-delete-employee
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: NotRequired[int]
    userId: NotRequired[list[str]]
    optStaffId: NotRequired[str]
    errcode: NotRequired[int]
    errmsg: NotRequired[str]
    syncAction: NotRequired[str]
    syncSeq: NotRequired[str]
    unionid: NotRequired[str]
    dingId: NotRequired[str]
    userid: NotRequired[str]


class UserModifyOrgUnionEmpExtUnionEmpMapListItem(TypedDict):
    corpId: NotRequired[str]
    staffId: NotRequired[str]


class UserModifyOrgUnionEmpExt(TypedDict):
    """
    关联企业的员工信息 · the employee in linked companies
    """

    corpId: NotRequired[str]
    unionEmpMapList: NotRequired[list[UserModifyOrgUnionEmpExtUnionEmpMapListItem]]
    staffId: NotRequired[str]


class UserModifyOrg(TypedDict):
    """
    企业修改员工事件 · Employee changed. https://open.dingtalk.com/document/development/enterprise-modify-employee-event
    """

    eventTime: NotRequired[int]
    corpId: str
    bizId: NotRequired[str]
    eventId: NotRequired[str]
    timeStamp: NotRequired[int]
    diffInfo: NotRequired[Any]
    userId: NotRequired[list[str]]
    optStaffId: NotRequired[str]
    errcode: NotRequired[int]
    errmsg: NotRequired[str]
    syncAction: NotRequired[str]
    unionid: NotRequired[str]
    userid: NotRequired[str]
    name: NotRequired[str]
    active: NotRequired[bool]
    avatar: NotRequired[str]
    isAdmin: NotRequired[bool]
    isBoss: NotRequired[bool]
    isSenior: NotRequired[bool]
    isHide: NotRequired[bool]
    jobnumber: NotRequired[str]
    position: NotRequired[str]
    department: NotRequired[list[int]]
    orderInDepts: NotRequired[str]
    isLeaderInDepts: NotRequired[str]
    dingId: NotRequired[str]
    unionEmpExt: NotRequired[UserModifyOrgUnionEmpExt]
    exclusiveAccount: NotRequired[bool]
    realAuthed: NotRequired[bool]
    roles: NotRequired[list[dict[str, Any]]]
    tags: NotRequired[dict[str, Any]]
    managerUserid: NotRequired[str]
    syncSeq: NotRequired[str]
    hiredDate: NotRequired[int]


class UserRoleChangeUnionEmpExtUnionEmpMapListItem(TypedDict):
    corpId: NotRequired[str]
    staffId: NotRequired[str]


class UserRoleChangeUnionEmpExt(TypedDict):
    """
    关联企业的员工信息 · the employee in linked companies
    """

    corpId: NotRequired[str]
    unionEmpMapList: NotRequired[list[UserRoleChangeUnionEmpExtUnionEmpMapListItem]]
    staffId: NotRequired[str]


class UserRoleChange(TypedDict):
    """
    企业修改员工所在角色后员工信息事件 · Employee's role changed. https://open.dingtalk.com/document/development/employee-information-event-after-the-enterprise-modifies-the-employee-s-role
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    errcode: int
    unionEmpExt: UserRoleChangeUnionEmpExt
    unionid: str
    exclusiveAccount: bool
    orderInDepts: str
    dingId: str
    active: bool
    errmsg: str
    avatar: str
    isAdmin: bool
    userid: str
    isHide: bool
    jobnumber: str
    isLeaderInDepts: str
    isBoss: bool
    isSenior: bool
    name: str
    position: str
    department: list[int]
    realAuthed: bool


class WorkflowFormChange(TypedDict):
    """
    审批模板状态变更 · Approval template's status changed. https://open.dingtalk.com/document/development/events-workflow-form-change
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    creatorUserId: str
    CorpId: NotRequired[str]
    formCode: str
    resource: str
    type: str
    modifierUserId: str
    appUuid: str
    appIds: list[str]
    modifyTime: str
    createTime: str
    appType: str
    bizCategoryId: str
    name: str


class WorkflowInstanceChangeBroadcast(TypedDict):
    """
    审批实例状态变更 · Approval instance's status changed, to all. https://open.dingtalk.com/document/development/event-workflow-instance-change-broadcast
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    result: NotRequired[str]
    processInstanceId: str
    createTime: int
    finshTime: NotRequired[int]
    processCode: str
    businessId: str
    type: str
    title: str
    version: str
    url: str
    staffId: str


class WorkflowInstanceChangeDirected(TypedDict):
    """
    审批实例状态变更 · Approval instance's status changed, to one app. https://open.dingtalk.com/document/development/event-workflow-instance-change-directed
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    result: NotRequired[str]
    processInstanceId: str
    createTime: int
    finshTime: NotRequired[int]
    processCode: str
    businessId: str
    type: str
    title: str
    version: str
    url: str
    staffId: str


class WorkflowTaskChangeBroadcast(TypedDict):
    """
    审批任务状态变更 · Approval task's status changed, to all. https://open.dingtalk.com/document/development/event-workflow-task-change-broadcast
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    result: NotRequired[str]
    processInstanceId: str
    createTime: int
    finshTime: NotRequired[int]
    processCode: str
    businessId: str
    remark: str
    type: str
    title: str
    taskId: str
    staffId: str


class WorkflowTaskChangeDirected(TypedDict):
    """
    审批任务状态变更 · Approval task's status changed, to one app. https://open.dingtalk.com/document/development/event-workflow-task-change-directed
    """

    eventTime: int
    corpId: str
    bizId: NotRequired[str]
    eventId: str
    result: NotRequired[str]
    processInstanceId: str
    createTime: int
    finshTime: NotRequired[int]
    processCode: str
    businessId: str
    remark: str
    type: str
    title: str
    taskId: str
    staffId: str
