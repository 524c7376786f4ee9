# Made by ``python -m dev.schemas``; do not edit.

from collections.abc import Mapping
from typing import Any, Literal, overload

from dingbridge.generated import payloads
from dingbridge.worker.handlers.marks import Handles, Prepared_, Prepares

@overload
def on(
    event_type: Literal["agoal_indicator_add"],
    /,
    *,
    prepare: Prepares[payloads.AgoalIndicatorAdd, Prepared_] | None = ...,
) -> Handles[payloads.AgoalIndicatorAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_indicator_copy"],
    /,
    *,
    prepare: Prepares[payloads.AgoalIndicatorCopy, Prepared_] | None = ...,
) -> Handles[payloads.AgoalIndicatorCopy, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_indicator_modify"],
    /,
    *,
    prepare: Prepares[payloads.AgoalIndicatorModify, Prepared_] | None = ...,
) -> Handles[payloads.AgoalIndicatorModify, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_indicator_remove"],
    /,
    *,
    prepare: Prepares[payloads.AgoalIndicatorRemove, Prepared_] | None = ...,
) -> Handles[payloads.AgoalIndicatorRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objectiveProgress_add"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveProgressAdd, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveProgressAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objectiveProgress_modify"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveProgressModify, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveProgressModify, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objectiveProgress_remove"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveProgressRemove, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveProgressRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objectiveRule_add"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveRuleAdd, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveRuleAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objectiveRule_modify"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveRuleModify, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveRuleModify, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objectiveRule_remove"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveRuleRemove, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveRuleRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objective_add"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveAdd, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objective_change"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveChange, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["agoal_objective_remove"],
    /,
    *,
    prepare: Prepares[payloads.AgoalObjectiveRemove, Prepared_] | None = ...,
) -> Handles[payloads.AgoalObjectiveRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["ai_assistant_change"],
    /,
    *,
    prepare: Prepares[payloads.AiAssistantChange, Prepared_] | None = ...,
) -> Handles[payloads.AiAssistantChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["ai_assistant_install"],
    /,
    *,
    prepare: Prepares[payloads.AiAssistantInstall, Prepared_] | None = ...,
) -> Handles[payloads.AiAssistantInstall, Prepared_]: ...
@overload
def on(
    event_type: Literal["aone_assistant_status_change"],
    /,
    *,
    prepare: Prepares[payloads.AoneAssistantStatusChange, Prepared_] | None = ...,
) -> Handles[payloads.AoneAssistantStatusChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["aone_assistant_summary_change"],
    /,
    *,
    prepare: Prepares[payloads.AoneAssistantSummaryChange, Prepared_] | None = ...,
) -> Handles[payloads.AoneAssistantSummaryChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["approve_open_group_expansion"],
    /,
    *,
    prepare: Prepares[payloads.ApproveOpenGroupExpansion, Prepared_] | None = ...,
) -> Handles[payloads.ApproveOpenGroupExpansion, Prepared_]: ...
@overload
def on(
    event_type: Literal["ats_config_change"],
    /,
    *,
    prepare: Prepares[payloads.AtsConfigChange, Prepared_] | None = ...,
) -> Handles[payloads.AtsConfigChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["ats_job_deliver_change"],
    /,
    *,
    prepare: Prepares[payloads.AtsJobDeliverChange, Prepared_] | None = ...,
) -> Handles[payloads.AtsJobDeliverChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["ats_rights_change"],
    /,
    *,
    prepare: Prepares[payloads.AtsRightsChange, Prepared_] | None = ...,
) -> Handles[payloads.AtsRightsChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["ats_talent_auto_chat_task"],
    /,
    *,
    prepare: Prepares[payloads.AtsTalentAutoChatTask, Prepared_] | None = ...,
) -> Handles[payloads.AtsTalentAutoChatTask, Prepared_]: ...
@overload
def on(
    event_type: Literal["attend_bossCheck_change"],
    /,
    *,
    prepare: Prepares[payloads.AttendBossCheckChange, Prepared_] | None = ...,
) -> Handles[payloads.AttendBossCheckChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["attend_group_change"],
    /,
    *,
    prepare: Prepares[payloads.AttendGroupChange, Prepared_] | None = ...,
) -> Handles[payloads.AttendGroupChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["attend_shift_change"],
    /,
    *,
    prepare: Prepares[payloads.AttendShiftChange, Prepared_] | None = ...,
) -> Handles[payloads.AttendShiftChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["attend_user_daily_summary_refresh"],
    /,
    *,
    prepare: Prepares[payloads.AttendUserDailySummaryRefresh, Prepared_] | None = ...,
) -> Handles[payloads.AttendUserDailySummaryRefresh, Prepared_]: ...
@overload
def on(
    event_type: Literal["attendance_approve_status_change"],
    /,
    *,
    prepare: Prepares[payloads.AttendanceApproveStatusChange, Prepared_] | None = ...,
) -> Handles[payloads.AttendanceApproveStatusChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["attendance_check_record"],
    /,
    *,
    prepare: Prepares[payloads.AttendanceCheckRecord, Prepared_] | None = ...,
) -> Handles[payloads.AttendanceCheckRecord, Prepared_]: ...
@overload
def on(
    event_type: Literal["attendance_overtime_duration"],
    /,
    *,
    prepare: Prepares[payloads.AttendanceOvertimeDuration, Prepared_] | None = ...,
) -> Handles[payloads.AttendanceOvertimeDuration, Prepared_]: ...
@overload
def on(
    event_type: Literal["attendance_report_column_change"],
    /,
    *,
    prepare: Prepares[payloads.AttendanceReportColumnChange, Prepared_] | None = ...,
) -> Handles[payloads.AttendanceReportColumnChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["attendance_schedule_change"],
    /,
    *,
    prepare: Prepares[payloads.AttendanceScheduleChange, Prepared_] | None = ...,
) -> Handles[payloads.AttendanceScheduleChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["badge_device_status_change"],
    /,
    *,
    prepare: Prepares[payloads.BadgeDeviceStatusChange, Prepared_] | None = ...,
) -> Handles[payloads.BadgeDeviceStatusChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["blackboard_sent"],
    /,
    *,
    prepare: Prepares[payloads.BlackboardSent, Prepared_] | None = ...,
) -> Handles[payloads.BlackboardSent, Prepared_]: ...
@overload
def on(
    event_type: Literal["bpms_instance_change"],
    /,
    *,
    prepare: Prepares[payloads.BpmsInstanceChange, Prepared_] | None = ...,
) -> Handles[payloads.BpmsInstanceChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["bpms_task_change"],
    /,
    *,
    prepare: Prepares[payloads.BpmsTaskChange, Prepared_] | None = ...,
) -> Handles[payloads.BpmsTaskChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["calendar_event_change"],
    /,
    *,
    prepare: Prepares[payloads.CalendarEventChange, Prepared_] | None = ...,
) -> Handles[payloads.CalendarEventChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["change_auth"],
    /,
    *,
    prepare: Prepares[payloads.ChangeAuth, Prepared_] | None = ...,
) -> Handles[payloads.ChangeAuth, Prepared_]: ...
@overload
def on(
    event_type: Literal["chat_add_member"],
    /,
    *,
    prepare: Prepares[payloads.ChatAddMember, Prepared_] | None = ...,
) -> Handles[payloads.ChatAddMember, Prepared_]: ...
@overload
def on(
    event_type: Literal["chat_disband"],
    /,
    *,
    prepare: Prepares[payloads.ChatDisband, Prepared_] | None = ...,
) -> Handles[payloads.ChatDisband, Prepared_]: ...
@overload
def on(
    event_type: Literal["chat_quit"],
    /,
    *,
    prepare: Prepares[payloads.ChatQuit, Prepared_] | None = ...,
) -> Handles[payloads.ChatQuit, Prepared_]: ...
@overload
def on(
    event_type: Literal["chat_remove_member"],
    /,
    *,
    prepare: Prepares[payloads.ChatRemoveMember, Prepared_] | None = ...,
) -> Handles[payloads.ChatRemoveMember, Prepared_]: ...
@overload
def on(
    event_type: Literal["chat_template_change"],
    /,
    *,
    prepare: Prepares[payloads.ChatTemplateChange, Prepared_] | None = ...,
) -> Handles[payloads.ChatTemplateChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["chat_update_owner"],
    /,
    *,
    prepare: Prepares[payloads.ChatUpdateOwner, Prepared_] | None = ...,
) -> Handles[payloads.ChatUpdateOwner, Prepared_]: ...
@overload
def on(
    event_type: Literal["chat_update_title"],
    /,
    *,
    prepare: Prepares[payloads.ChatUpdateTitle, Prepared_] | None = ...,
) -> Handles[payloads.ChatUpdateTitle, Prepared_]: ...
@overload
def on(
    event_type: Literal["check_in"],
    /,
    *,
    prepare: Prepares[payloads.CheckIn, Prepared_] | None = ...,
) -> Handles[payloads.CheckIn, Prepared_]: ...
@overload
def on(
    event_type: Literal["commercial_solution"],
    /,
    *,
    prepare: Prepares[payloads.CommercialSolution, Prepared_] | None = ...,
) -> Handles[payloads.CommercialSolution, Prepared_]: ...
@overload
def on(
    event_type: Literal["contact_add_org"],
    /,
    *,
    prepare: Prepares[payloads.ContactAddOrg, Prepared_] | None = ...,
) -> Handles[payloads.ContactAddOrg, Prepared_]: ...
@overload
def on(
    event_type: Literal["contact_leave_org"],
    /,
    *,
    prepare: Prepares[payloads.ContactLeaveOrg, Prepared_] | None = ...,
) -> Handles[payloads.ContactLeaveOrg, Prepared_]: ...
@overload
def on(
    event_type: Literal["contact_modify_org"],
    /,
    *,
    prepare: Prepares[payloads.ContactModifyOrg, Prepared_] | None = ...,
) -> Handles[payloads.ContactModifyOrg, Prepared_]: ...
@overload
def on(
    event_type: Literal["crm_customer_track"],
    /,
    *,
    prepare: Prepares[payloads.CrmCustomerTrack, Prepared_] | None = ...,
) -> Handles[payloads.CrmCustomerTrack, Prepared_]: ...
@overload
def on(
    event_type: Literal["device_bind_update"],
    /,
    *,
    prepare: Prepares[payloads.DeviceBindUpdate, Prepared_] | None = ...,
) -> Handles[payloads.DeviceBindUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["ding_badge_verify"],
    /,
    *,
    prepare: Prepares[payloads.DingBadgeVerify, Prepared_] | None = ...,
) -> Handles[payloads.DingBadgeVerify, Prepared_]: ...
@overload
def on(
    event_type: Literal["ding_paas_object_data_create"],
    /,
    *,
    prepare: Prepares[payloads.DingPaasObjectDataCreate, Prepared_] | None = ...,
) -> Handles[payloads.DingPaasObjectDataCreate, Prepared_]: ...
@overload
def on(
    event_type: Literal["ding_paas_object_data_delete"],
    /,
    *,
    prepare: Prepares[payloads.DingPaasObjectDataDelete, Prepared_] | None = ...,
) -> Handles[payloads.DingPaasObjectDataDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["ding_paas_object_data_update"],
    /,
    *,
    prepare: Prepares[payloads.DingPaasObjectDataUpdate, Prepared_] | None = ...,
) -> Handles[payloads.DingPaasObjectDataUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["dingtalk_projection"],
    /,
    *,
    prepare: Prepares[payloads.DingtalkProjection, Prepared_] | None = ...,
) -> Handles[payloads.DingtalkProjection, Prepared_]: ...
@overload
def on(
    event_type: Literal["doc_export_completed"],
    /,
    *,
    prepare: Prepares[payloads.DocExportCompleted, Prepared_] | None = ...,
) -> Handles[payloads.DocExportCompleted, Prepared_]: ...
@overload
def on(
    event_type: Literal["doc_spaces_create_team"],
    /,
    *,
    prepare: Prepares[payloads.DocSpacesCreateTeam, Prepared_] | None = ...,
) -> Handles[payloads.DocSpacesCreateTeam, Prepared_]: ...
@overload
def on(
    event_type: Literal["doc_spaces_team_change"],
    /,
    *,
    prepare: Prepares[payloads.DocSpacesTeamChange, Prepared_] | None = ...,
) -> Handles[payloads.DocSpacesTeamChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["doc_spaces_team_member_change"],
    /,
    *,
    prepare: Prepares[payloads.DocSpacesTeamMemberChange, Prepared_] | None = ...,
) -> Handles[payloads.DocSpacesTeamMemberChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["dvi_custom_ai_analysis_completed"],
    /,
    *,
    prepare: Prepares[payloads.DviCustomAiAnalysisCompleted, Prepared_] | None = ...,
) -> Handles[payloads.DviCustomAiAnalysisCompleted, Prepared_]: ...
@overload
def on(
    event_type: Literal["dvi_device_owner_change"],
    /,
    *,
    prepare: Prepares[payloads.DviDeviceOwnerChange, Prepared_] | None = ...,
) -> Handles[payloads.DviDeviceOwnerChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_card_delete"],
    /,
    *,
    prepare: Prepares[payloads.EduCardDelete, Prepared_] | None = ...,
) -> Handles[payloads.EduCardDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_card_update"],
    /,
    *,
    prepare: Prepares[payloads.EduCardUpdate, Prepared_] | None = ...,
) -> Handles[payloads.EduCardUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_dept_delete"],
    /,
    *,
    prepare: Prepares[payloads.EduDeptDelete, Prepared_] | None = ...,
) -> Handles[payloads.EduDeptDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_dept_insert"],
    /,
    *,
    prepare: Prepares[payloads.EduDeptInsert, Prepared_] | None = ...,
) -> Handles[payloads.EduDeptInsert, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_dept_update"],
    /,
    *,
    prepare: Prepares[payloads.EduDeptUpdate, Prepared_] | None = ...,
) -> Handles[payloads.EduDeptUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_trade_pay_status_sync"],
    /,
    *,
    prepare: Prepares[payloads.EduTradePayStatusSync, Prepared_] | None = ...,
) -> Handles[payloads.EduTradePayStatusSync, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_user_delete"],
    /,
    *,
    prepare: Prepares[payloads.EduUserDelete, Prepared_] | None = ...,
) -> Handles[payloads.EduUserDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_user_insert"],
    /,
    *,
    prepare: Prepares[payloads.EduUserInsert, Prepared_] | None = ...,
) -> Handles[payloads.EduUserInsert, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_user_relation_delete"],
    /,
    *,
    prepare: Prepares[payloads.EduUserRelationDelete, Prepared_] | None = ...,
) -> Handles[payloads.EduUserRelationDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_user_relation_insert"],
    /,
    *,
    prepare: Prepares[payloads.EduUserRelationInsert, Prepared_] | None = ...,
) -> Handles[payloads.EduUserRelationInsert, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_user_relation_update"],
    /,
    *,
    prepare: Prepares[payloads.EduUserRelationUpdate, Prepared_] | None = ...,
) -> Handles[payloads.EduUserRelationUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["edu_user_update"],
    /,
    *,
    prepare: Prepares[payloads.EduUserUpdate, Prepared_] | None = ...,
) -> Handles[payloads.EduUserUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["exclusive_data_transfer"],
    /,
    *,
    prepare: Prepares[payloads.ExclusiveDataTransfer, Prepared_] | None = ...,
) -> Handles[payloads.ExclusiveDataTransfer, Prepared_]: ...
@overload
def on(
    event_type: Literal["exclusive_delete_trusted_device"],
    /,
    *,
    prepare: Prepares[payloads.ExclusiveDeleteTrustedDevice, Prepared_] | None = ...,
) -> Handles[payloads.ExclusiveDeleteTrustedDevice, Prepared_]: ...
@overload
def on(
    event_type: Literal["flash_minutes_open_event_directed"],
    /,
    *,
    prepare: Prepares[payloads.FlashMinutesOpenEventDirected, Prepared_] | None = ...,
) -> Handles[payloads.FlashMinutesOpenEventDirected, Prepared_]: ...
@overload
def on(
    event_type: Literal["goods_tryout"],
    /,
    *,
    prepare: Prepares[payloads.GoodsTryout, Prepared_] | None = ...,
) -> Handles[payloads.GoodsTryout, Prepared_]: ...
@overload
def on(
    event_type: Literal["hire_agent_sourcing_task_change"],
    /,
    *,
    prepare: Prepares[payloads.HireAgentSourcingTaskChange, Prepared_] | None = ...,
) -> Handles[payloads.HireAgentSourcingTaskChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["honor_audit"],
    /,
    *,
    prepare: Prepares[payloads.HonorAudit, Prepared_] | None = ...,
) -> Handles[payloads.HonorAudit, Prepared_]: ...
@overload
def on(
    event_type: Literal["honor_grant"],
    /,
    *,
    prepare: Prepares[payloads.HonorGrant, Prepared_] | None = ...,
) -> Handles[payloads.HonorGrant, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrbrain_talent_pool_add"],
    /,
    *,
    prepare: Prepares[payloads.HrbrainTalentPoolAdd, Prepared_] | None = ...,
) -> Handles[payloads.HrbrainTalentPoolAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrbrain_talent_pool_delete"],
    /,
    *,
    prepare: Prepares[payloads.HrbrainTalentPoolDelete, Prepared_] | None = ...,
) -> Handles[payloads.HrbrainTalentPoolDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrbrain_talent_pool_edit"],
    /,
    *,
    prepare: Prepares[payloads.HrbrainTalentPoolEdit, Prepared_] | None = ...,
) -> Handles[payloads.HrbrainTalentPoolEdit, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrbrain_talent_pool_staff_delete"],
    /,
    *,
    prepare: Prepares[payloads.HrbrainTalentPoolStaffDelete, Prepared_] | None = ...,
) -> Handles[payloads.HrbrainTalentPoolStaffDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrm_app_authorize"],
    /,
    *,
    prepare: Prepares[payloads.HrmAppAuthorize, Prepared_] | None = ...,
) -> Handles[payloads.HrmAppAuthorize, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrm_mdm_user_change"],
    /,
    *,
    prepare: Prepares[payloads.HrmMdmUserChange, Prepared_] | None = ...,
) -> Handles[payloads.HrmMdmUserChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrm_mdm_user_info_change"],
    /,
    *,
    prepare: Prepares[payloads.HrmMdmUserInfoChange, Prepared_] | None = ...,
) -> Handles[payloads.HrmMdmUserInfoChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrm_solution_manage"],
    /,
    *,
    prepare: Prepares[payloads.HrmSolutionManage, Prepared_] | None = ...,
) -> Handles[payloads.HrmSolutionManage, Prepared_]: ...
@overload
def on(
    event_type: Literal["hrm_user_record_change"],
    /,
    *,
    prepare: Prepares[payloads.HrmUserRecordChange, Prepared_] | None = ...,
) -> Handles[payloads.HrmUserRecordChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["im_cool_app_install"],
    /,
    *,
    prepare: Prepares[payloads.ImCoolAppInstall, Prepared_] | None = ...,
) -> Handles[payloads.ImCoolAppInstall, Prepared_]: ...
@overload
def on(
    event_type: Literal["im_cool_app_uninstall"],
    /,
    *,
    prepare: Prepares[payloads.ImCoolAppUninstall, Prepared_] | None = ...,
) -> Handles[payloads.ImCoolAppUninstall, Prepared_]: ...
@overload
def on(
    event_type: Literal["industry_medical_dept_event"],
    /,
    *,
    prepare: Prepares[payloads.IndustryMedicalDeptEvent, Prepared_] | None = ...,
) -> Handles[payloads.IndustryMedicalDeptEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["industry_medical_dept_prop_event"],
    /,
    *,
    prepare: Prepares[payloads.IndustryMedicalDeptPropEvent, Prepared_] | None = ...,
) -> Handles[payloads.IndustryMedicalDeptPropEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["industry_medical_full_sync"],
    /,
    *,
    prepare: Prepares[payloads.IndustryMedicalFullSync, Prepared_] | None = ...,
) -> Handles[payloads.IndustryMedicalFullSync, Prepared_]: ...
@overload
def on(
    event_type: Literal["industry_medical_user_dept_event"],
    /,
    *,
    prepare: Prepares[payloads.IndustryMedicalUserDeptEvent, Prepared_] | None = ...,
) -> Handles[payloads.IndustryMedicalUserDeptEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["industry_medical_user_prop_event"],
    /,
    *,
    prepare: Prepares[payloads.IndustryMedicalUserPropEvent, Prepared_] | None = ...,
) -> Handles[payloads.IndustryMedicalUserPropEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["inner_app_release"],
    /,
    *,
    prepare: Prepares[payloads.InnerAppRelease, Prepared_] | None = ...,
) -> Handles[payloads.InnerAppRelease, Prepared_]: ...
@overload
def on(
    event_type: Literal["inner_app_scopes_change"],
    /,
    *,
    prepare: Prepares[payloads.InnerAppScopesChange, Prepared_] | None = ...,
) -> Handles[payloads.InnerAppScopesChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["inner_app_status_change"],
    /,
    *,
    prepare: Prepares[payloads.InnerAppStatusChange, Prepared_] | None = ...,
) -> Handles[payloads.InnerAppStatusChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["inner_app_version_publish"],
    /,
    *,
    prepare: Prepares[payloads.InnerAppVersionPublish, Prepared_] | None = ...,
) -> Handles[payloads.InnerAppVersionPublish, Prepared_]: ...
@overload
def on(
    event_type: Literal["inner_app_version_rollback"],
    /,
    *,
    prepare: Prepares[payloads.InnerAppVersionRollback, Prepared_] | None = ...,
) -> Handles[payloads.InnerAppVersionRollback, Prepared_]: ...
@overload
def on(
    event_type: Literal["integration_app_install_event"],
    /,
    *,
    prepare: Prepares[payloads.IntegrationAppInstallEvent, Prepared_] | None = ...,
) -> Handles[payloads.IntegrationAppInstallEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["isw_user_event_received"],
    /,
    *,
    prepare: Prepares[payloads.IswUserEventReceived, Prepared_] | None = ...,
) -> Handles[payloads.IswUserEventReceived, Prepared_]: ...
@overload
def on(
    event_type: Literal["isw_user_msg_received"],
    /,
    *,
    prepare: Prepares[payloads.IswUserMsgReceived, Prepared_] | None = ...,
) -> Handles[payloads.IswUserMsgReceived, Prepared_]: ...
@overload
def on(
    event_type: Literal["label_conf_add"],
    /,
    *,
    prepare: Prepares[payloads.LabelConfAdd, Prepared_] | None = ...,
) -> Handles[payloads.LabelConfAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["label_conf_del"],
    /,
    *,
    prepare: Prepares[payloads.LabelConfDel, Prepared_] | None = ...,
) -> Handles[payloads.LabelConfDel, Prepared_]: ...
@overload
def on(
    event_type: Literal["label_conf_modify"],
    /,
    *,
    prepare: Prepares[payloads.LabelConfModify, Prepared_] | None = ...,
) -> Handles[payloads.LabelConfModify, Prepared_]: ...
@overload
def on(
    event_type: Literal["label_user_change"],
    /,
    *,
    prepare: Prepares[payloads.LabelUserChange, Prepared_] | None = ...,
) -> Handles[payloads.LabelUserChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["leave_quota_update"],
    /,
    *,
    prepare: Prepares[payloads.LeaveQuotaUpdate, Prepared_] | None = ...,
) -> Handles[payloads.LeaveQuotaUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["leave_record_change"],
    /,
    *,
    prepare: Prepares[payloads.LeaveRecordChange, Prepared_] | None = ...,
) -> Handles[payloads.LeaveRecordChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["light_opportunity_notice"],
    /,
    *,
    prepare: Prepares[payloads.LightOpportunityNotice, Prepared_] | None = ...,
) -> Handles[payloads.LightOpportunityNotice, Prepared_]: ...
@overload
def on(
    event_type: Literal["live_statistic_done_event"],
    /,
    *,
    prepare: Prepares[payloads.LiveStatisticDoneEvent, Prepared_] | None = ...,
) -> Handles[payloads.LiveStatisticDoneEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["live_status_change_event"],
    /,
    *,
    prepare: Prepares[payloads.LiveStatusChangeEvent, Prepared_] | None = ...,
) -> Handles[payloads.LiveStatusChangeEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["live_update_event"],
    /,
    *,
    prepare: Prepares[payloads.LiveUpdateEvent, Prepared_] | None = ...,
) -> Handles[payloads.LiveUpdateEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["live_watch_playback_event"],
    /,
    *,
    prepare: Prepares[payloads.LiveWatchPlaybackEvent, Prepared_] | None = ...,
) -> Handles[payloads.LiveWatchPlaybackEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["market_ai_agent_order"],
    /,
    *,
    prepare: Prepares[payloads.MarketAiAgentOrder, Prepared_] | None = ...,
) -> Handles[payloads.MarketAiAgentOrder, Prepared_]: ...
@overload
def on(
    event_type: Literal["market_buy"],
    /,
    *,
    prepare: Prepares[payloads.MarketBuy, Prepared_] | None = ...,
) -> Handles[payloads.MarketBuy, Prepared_]: ...
@overload
def on(
    event_type: Literal["market_order"],
    /,
    *,
    prepare: Prepares[payloads.MarketOrder, Prepared_] | None = ...,
) -> Handles[payloads.MarketOrder, Prepared_]: ...
@overload
def on(
    event_type: Literal["market_order_refund_event"],
    /,
    *,
    prepare: Prepares[payloads.MarketOrderRefundEvent, Prepared_] | None = ...,
) -> Handles[payloads.MarketOrderRefundEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["market_order_tag"],
    /,
    *,
    prepare: Prepares[payloads.MarketOrderTag, Prepared_] | None = ...,
) -> Handles[payloads.MarketOrderTag, Prepared_]: ...
@overload
def on(
    event_type: Literal["market_service_close"],
    /,
    *,
    prepare: Prepares[payloads.MarketServiceClose, Prepared_] | None = ...,
) -> Handles[payloads.MarketServiceClose, Prepared_]: ...
@overload
def on(
    event_type: Literal["market_service_open"],
    /,
    *,
    prepare: Prepares[payloads.MarketServiceOpen, Prepared_] | None = ...,
) -> Handles[payloads.MarketServiceOpen, Prepared_]: ...
@overload
def on(
    event_type: Literal["meeting_asr_result_event"],
    /,
    *,
    prepare: Prepares[payloads.MeetingAsrResultEvent, Prepared_] | None = ...,
) -> Handles[payloads.MeetingAsrResultEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["meeting_asr_result_event_directed"],
    /,
    *,
    prepare: Prepares[payloads.MeetingAsrResultEventDirected, Prepared_] | None = ...,
) -> Handles[payloads.MeetingAsrResultEventDirected, Prepared_]: ...
@overload
def on(
    event_type: Literal["meeting_member_status_change"],
    /,
    *,
    prepare: Prepares[payloads.MeetingMemberStatusChange, Prepared_] | None = ...,
) -> Handles[payloads.MeetingMemberStatusChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["meeting_member_status_change_target_push"],
    /,
    *,
    prepare: Prepares[payloads.MeetingMemberStatusChangeTargetPush, Prepared_] | None = ...,
) -> Handles[payloads.MeetingMemberStatusChangeTargetPush, Prepared_]: ...
@overload
def on(
    event_type: Literal["meeting_status_change"],
    /,
    *,
    prepare: Prepares[payloads.MeetingStatusChange, Prepared_] | None = ...,
) -> Handles[payloads.MeetingStatusChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["meeting_status_change_target_push"],
    /,
    *,
    prepare: Prepares[payloads.MeetingStatusChangeTargetPush, Prepared_] | None = ...,
) -> Handles[payloads.MeetingStatusChangeTargetPush, Prepared_]: ...
@overload
def on(
    event_type: Literal["meetingroom_book"],
    /,
    *,
    prepare: Prepares[payloads.MeetingroomBook, Prepared_] | None = ...,
) -> Handles[payloads.MeetingroomBook, Prepared_]: ...
@overload
def on(
    event_type: Literal["meetingroom_room_info"],
    /,
    *,
    prepare: Prepares[payloads.MeetingroomRoomInfo, Prepared_] | None = ...,
) -> Handles[payloads.MeetingroomRoomInfo, Prepared_]: ...
@overload
def on(
    event_type: Literal["oa_timeout_plugin_task_msg"],
    /,
    *,
    prepare: Prepares[payloads.OaTimeoutPluginTaskMsg, Prepared_] | None = ...,
) -> Handles[payloads.OaTimeoutPluginTaskMsg, Prepared_]: ...
@overload
def on(
    event_type: Literal["official_account_follow"],
    /,
    *,
    prepare: Prepares[payloads.OfficialAccountFollow, Prepared_] | None = ...,
) -> Handles[payloads.OfficialAccountFollow, Prepared_]: ...
@overload
def on(
    event_type: Literal["official_account_unfollow"],
    /,
    *,
    prepare: Prepares[payloads.OfficialAccountUnfollow, Prepared_] | None = ...,
) -> Handles[payloads.OfficialAccountUnfollow, Prepared_]: ...
@overload
def on(
    event_type: Literal["official_account_user_data_apply_result"],
    /,
    *,
    prepare: Prepares[payloads.OfficialAccountUserDataApplyResult, Prepared_] | None = ...,
) -> Handles[payloads.OfficialAccountUserDataApplyResult, Prepared_]: ...
@overload
def on(
    event_type: Literal["open_batch_trade_callback"],
    /,
    *,
    prepare: Prepares[payloads.OpenBatchTradeCallback, Prepared_] | None = ...,
) -> Handles[payloads.OpenBatchTradeCallback, Prepared_]: ...
@overload
def on(
    event_type: Literal["open_meeting_room_central_control"],
    /,
    *,
    prepare: Prepares[payloads.OpenMeetingRoomCentralControl, Prepared_] | None = ...,
) -> Handles[payloads.OpenMeetingRoomCentralControl, Prepared_]: ...
@overload
def on(
    event_type: Literal["open_meeting_room_device_alarm"],
    /,
    *,
    prepare: Prepares[payloads.OpenMeetingRoomDeviceAlarm, Prepared_] | None = ...,
) -> Handles[payloads.OpenMeetingRoomDeviceAlarm, Prepared_]: ...
@overload
def on(
    event_type: Literal["open_meeting_room_device_bind_change"],
    /,
    *,
    prepare: Prepares[payloads.OpenMeetingRoomDeviceBindChange, Prepared_] | None = ...,
) -> Handles[payloads.OpenMeetingRoomDeviceBindChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["open_meeting_room_device_property_change"],
    /,
    *,
    prepare: Prepares[payloads.OpenMeetingRoomDevicePropertyChange, Prepared_] | None = ...,
) -> Handles[payloads.OpenMeetingRoomDevicePropertyChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["open_user_agreement_callback"],
    /,
    *,
    prepare: Prepares[payloads.OpenUserAgreementCallback, Prepared_] | None = ...,
) -> Handles[payloads.OpenUserAgreementCallback, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_admin_add"],
    /,
    *,
    prepare: Prepares[payloads.OrgAdminAdd, Prepared_] | None = ...,
) -> Handles[payloads.OrgAdminAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_admin_remove"],
    /,
    *,
    prepare: Prepares[payloads.OrgAdminRemove, Prepared_] | None = ...,
) -> Handles[payloads.OrgAdminRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_change"],
    /,
    *,
    prepare: Prepares[payloads.OrgChange, Prepared_] | None = ...,
) -> Handles[payloads.OrgChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_dept_create"],
    /,
    *,
    prepare: Prepares[payloads.OrgDeptCreate, Prepared_] | None = ...,
) -> Handles[payloads.OrgDeptCreate, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_dept_modify"],
    /,
    *,
    prepare: Prepares[payloads.OrgDeptModify, Prepared_] | None = ...,
) -> Handles[payloads.OrgDeptModify, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_dept_remove"],
    /,
    *,
    prepare: Prepares[payloads.OrgDeptRemove, Prepared_] | None = ...,
) -> Handles[payloads.OrgDeptRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_file_send_check"],
    /,
    *,
    prepare: Prepares[payloads.OrgFileSendCheck, Prepared_] | None = ...,
) -> Handles[payloads.OrgFileSendCheck, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_micro_app_remove"],
    /,
    *,
    prepare: Prepares[payloads.OrgMicroAppRemove, Prepared_] | None = ...,
) -> Handles[payloads.OrgMicroAppRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_micro_app_restore"],
    /,
    *,
    prepare: Prepares[payloads.OrgMicroAppRestore, Prepared_] | None = ...,
) -> Handles[payloads.OrgMicroAppRestore, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_micro_app_scope_update"],
    /,
    *,
    prepare: Prepares[payloads.OrgMicroAppScopeUpdate, Prepared_] | None = ...,
) -> Handles[payloads.OrgMicroAppScopeUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_micro_app_stop"],
    /,
    *,
    prepare: Prepares[payloads.OrgMicroAppStop, Prepared_] | None = ...,
) -> Handles[payloads.OrgMicroAppStop, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_remove"],
    /,
    *,
    prepare: Prepares[payloads.OrgRemove, Prepared_] | None = ...,
) -> Handles[payloads.OrgRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_role_add"],
    /,
    *,
    prepare: Prepares[payloads.OrgRoleAdd, Prepared_] | None = ...,
) -> Handles[payloads.OrgRoleAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_role_modify"],
    /,
    *,
    prepare: Prepares[payloads.OrgRoleModify, Prepared_] | None = ...,
) -> Handles[payloads.OrgRoleModify, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_role_remove"],
    /,
    *,
    prepare: Prepares[payloads.OrgRoleRemove, Prepared_] | None = ...,
) -> Handles[payloads.OrgRoleRemove, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_suite_auth"],
    /,
    *,
    prepare: Prepares[payloads.OrgSuiteAuth, Prepared_] | None = ...,
) -> Handles[payloads.OrgSuiteAuth, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_suite_change"],
    /,
    *,
    prepare: Prepares[payloads.OrgSuiteChange, Prepared_] | None = ...,
) -> Handles[payloads.OrgSuiteChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_suite_relieve"],
    /,
    *,
    prepare: Prepares[payloads.OrgSuiteRelieve, Prepared_] | None = ...,
) -> Handles[payloads.OrgSuiteRelieve, Prepared_]: ...
@overload
def on(
    event_type: Literal["org_update"],
    /,
    *,
    prepare: Prepares[payloads.OrgUpdate, Prepared_] | None = ...,
) -> Handles[payloads.OrgUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["overtime_to_vacation_data"],
    /,
    *,
    prepare: Prepares[payloads.OvertimeToVacationData, Prepared_] | None = ...,
) -> Handles[payloads.OvertimeToVacationData, Prepared_]: ...
@overload
def on(
    event_type: Literal["project_project_app_changed"],
    /,
    *,
    prepare: Prepares[payloads.ProjectProjectAppChanged, Prepared_] | None = ...,
) -> Handles[payloads.ProjectProjectAppChanged, Prepared_]: ...
@overload
def on(
    event_type: Literal["project_project_changed"],
    /,
    *,
    prepare: Prepares[payloads.ProjectProjectChanged, Prepared_] | None = ...,
) -> Handles[payloads.ProjectProjectChanged, Prepared_]: ...
@overload
def on(
    event_type: Literal["project_project_member_changed"],
    /,
    *,
    prepare: Prepares[payloads.ProjectProjectMemberChanged, Prepared_] | None = ...,
) -> Handles[payloads.ProjectProjectMemberChanged, Prepared_]: ...
@overload
def on(
    event_type: Literal["project_project_updated"],
    /,
    *,
    prepare: Prepares[payloads.ProjectProjectUpdated, Prepared_] | None = ...,
) -> Handles[payloads.ProjectProjectUpdated, Prepared_]: ...
@overload
def on(
    event_type: Literal["project_task_changed"],
    /,
    *,
    prepare: Prepares[payloads.ProjectTaskChanged, Prepared_] | None = ...,
) -> Handles[payloads.ProjectTaskChanged, Prepared_]: ...
@overload
def on(
    event_type: Literal["project_task_updated"],
    /,
    *,
    prepare: Prepares[payloads.ProjectTaskUpdated, Prepared_] | None = ...,
) -> Handles[payloads.ProjectTaskUpdated, Prepared_]: ...
@overload
def on(
    event_type: Literal["project_worktime_updated"],
    /,
    *,
    prepare: Prepares[payloads.ProjectWorktimeUpdated, Prepared_] | None = ...,
) -> Handles[payloads.ProjectWorktimeUpdated, Prepared_]: ...
@overload
def on(
    event_type: Literal["rcm_channel_message_push"],
    /,
    *,
    prepare: Prepares[payloads.RcmChannelMessagePush, Prepared_] | None = ...,
) -> Handles[payloads.RcmChannelMessagePush, Prepared_]: ...
@overload
def on(
    event_type: Literal["robot_msg_read"],
    /,
    *,
    prepare: Prepares[payloads.RobotMsgRead, Prepared_] | None = ...,
) -> Handles[payloads.RobotMsgRead, Prepared_]: ...
@overload
def on(
    event_type: Literal["robot_msg_recall"],
    /,
    *,
    prepare: Prepares[payloads.RobotMsgRecall, Prepared_] | None = ...,
) -> Handles[payloads.RobotMsgRecall, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_contact_join_group_form"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupContactJoinGroupForm, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupContactJoinGroupForm, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_contact_relate_customer"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupContactRelateCustomer, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupContactRelateCustomer, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_custom_object_create"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupCustomObjectCreate, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupCustomObjectCreate, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_custom_object_delete"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupCustomObjectDelete, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupCustomObjectDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_custom_object_edit"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupCustomObjectEdit, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupCustomObjectEdit, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_group_info_change"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupGroupInfoChange, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupGroupInfoChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_ticket_create"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupTicketCreate, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupTicketCreate, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_ticket_deal_feedback"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupTicketDealFeedback, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupTicketDealFeedback, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_ticket_memo_add"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupTicketMemoAdd, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupTicketMemoAdd, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_ticket_read"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupTicketRead, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupTicketRead, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_ticket_take"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupTicketTake, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupTicketTake, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_ticket_urge"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupTicketUrge, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupTicketUrge, Prepared_]: ...
@overload
def on(
    event_type: Literal["servicegroup_voc_topic_detail"],
    /,
    *,
    prepare: Prepares[payloads.ServicegroupVocTopicDetail, Prepared_] | None = ...,
) -> Handles[payloads.ServicegroupVocTopicDetail, Prepared_]: ...
@overload
def on(
    event_type: Literal["shop_group_event"],
    /,
    *,
    prepare: Prepares[payloads.ShopGroupEvent, Prepared_] | None = ...,
) -> Handles[payloads.ShopGroupEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["shop_node_event"],
    /,
    *,
    prepare: Prepares[payloads.ShopNodeEvent, Prepared_] | None = ...,
) -> Handles[payloads.ShopNodeEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["shop_role_event"],
    /,
    *,
    prepare: Prepares[payloads.ShopRoleEvent, Prepared_] | None = ...,
) -> Handles[payloads.ShopRoleEvent, Prepared_]: ...
@overload
def on(
    event_type: Literal["single_conversation_cool_app_install"],
    /,
    *,
    prepare: Prepares[payloads.SingleConversationCoolAppInstall, Prepared_] | None = ...,
) -> Handles[payloads.SingleConversationCoolAppInstall, Prepared_]: ...
@overload
def on(
    event_type: Literal["single_conversation_cool_app_uninstall"],
    /,
    *,
    prepare: Prepares[payloads.SingleConversationCoolAppUninstall, Prepared_] | None = ...,
) -> Handles[payloads.SingleConversationCoolAppUninstall, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_application_invoice_update"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceApplicationInvoiceUpdate, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceApplicationInvoiceUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_category_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceCategoryChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceCategoryChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_company_info_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceCompanyInfoChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceCompanyInfoChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_customer_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceCustomerChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceCustomerChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_define_data_info_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceDefineDataInfoChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceDefineDataInfoChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_define_info_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceDefineInfoChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceDefineInfoChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_form_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceFormChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceFormChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_multi_company_info_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceMultiCompanyInfoChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceMultiCompanyInfoChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_product_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceProductChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceProductChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_project_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceProjectChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceProjectChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_role_member_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceRoleMemberChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceRoleMemberChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["smart_finance_supplier_change"],
    /,
    *,
    prepare: Prepares[payloads.SmartFinanceSupplierChange, Prepared_] | None = ...,
) -> Handles[payloads.SmartFinanceSupplierChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["storage_dentry_create"],
    /,
    *,
    prepare: Prepares[payloads.StorageDentryCreate, Prepared_] | None = ...,
) -> Handles[payloads.StorageDentryCreate, Prepared_]: ...
@overload
def on(
    event_type: Literal["storage_dentry_delete"],
    /,
    *,
    prepare: Prepares[payloads.StorageDentryDelete, Prepared_] | None = ...,
) -> Handles[payloads.StorageDentryDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["storage_dentry_update"],
    /,
    *,
    prepare: Prepares[payloads.StorageDentryUpdate, Prepared_] | None = ...,
) -> Handles[payloads.StorageDentryUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["suite_relieve"],
    /,
    *,
    prepare: Prepares[payloads.SuiteRelieve, Prepared_] | None = ...,
) -> Handles[payloads.SuiteRelieve, Prepared_]: ...
@overload
def on(
    event_type: Literal["suite_ticket"],
    /,
    *,
    prepare: Prepares[payloads.SuiteTicket, Prepared_] | None = ...,
) -> Handles[payloads.SuiteTicket, Prepared_]: ...
@overload
def on(
    event_type: Literal["tmp_auth_code"],
    /,
    *,
    prepare: Prepares[payloads.TmpAuthCode, Prepared_] | None = ...,
) -> Handles[payloads.TmpAuthCode, Prepared_]: ...
@overload
def on(
    event_type: Literal["todo_task_create"],
    /,
    *,
    prepare: Prepares[payloads.TodoTaskCreate, Prepared_] | None = ...,
) -> Handles[payloads.TodoTaskCreate, Prepared_]: ...
@overload
def on(
    event_type: Literal["todo_task_delete"],
    /,
    *,
    prepare: Prepares[payloads.TodoTaskDelete, Prepared_] | None = ...,
) -> Handles[payloads.TodoTaskDelete, Prepared_]: ...
@overload
def on(
    event_type: Literal["todo_task_update"],
    /,
    *,
    prepare: Prepares[payloads.TodoTaskUpdate, Prepared_] | None = ...,
) -> Handles[payloads.TodoTaskUpdate, Prepared_]: ...
@overload
def on(
    event_type: Literal["train_course_user_info"],
    /,
    *,
    prepare: Prepares[payloads.TrainCourseUserInfo, Prepared_] | None = ...,
) -> Handles[payloads.TrainCourseUserInfo, Prepared_]: ...
@overload
def on(
    event_type: Literal["transfer_contact_id_job_result"],
    /,
    *,
    prepare: Prepares[payloads.TransferContactIdJobResult, Prepared_] | None = ...,
) -> Handles[payloads.TransferContactIdJobResult, Prepared_]: ...
@overload
def on(
    event_type: Literal["user_active_org"],
    /,
    *,
    prepare: Prepares[payloads.UserActiveOrg, Prepared_] | None = ...,
) -> Handles[payloads.UserActiveOrg, Prepared_]: ...
@overload
def on(
    event_type: Literal["user_add_org"],
    /,
    *,
    prepare: Prepares[payloads.UserAddOrg, Prepared_] | None = ...,
) -> Handles[payloads.UserAddOrg, Prepared_]: ...
@overload
def on(
    event_type: Literal["user_dept_change"],
    /,
    *,
    prepare: Prepares[payloads.UserDeptChange, Prepared_] | None = ...,
) -> Handles[payloads.UserDeptChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["user_leave_org"],
    /,
    *,
    prepare: Prepares[payloads.UserLeaveOrg, Prepared_] | None = ...,
) -> Handles[payloads.UserLeaveOrg, Prepared_]: ...
@overload
def on(
    event_type: Literal["user_modify_org"],
    /,
    *,
    prepare: Prepares[payloads.UserModifyOrg, Prepared_] | None = ...,
) -> Handles[payloads.UserModifyOrg, Prepared_]: ...
@overload
def on(
    event_type: Literal["user_role_change"],
    /,
    *,
    prepare: Prepares[payloads.UserRoleChange, Prepared_] | None = ...,
) -> Handles[payloads.UserRoleChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["workflow_form_change"],
    /,
    *,
    prepare: Prepares[payloads.WorkflowFormChange, Prepared_] | None = ...,
) -> Handles[payloads.WorkflowFormChange, Prepared_]: ...
@overload
def on(
    event_type: Literal["workflow_instance_change_broadcast"],
    /,
    *,
    prepare: Prepares[payloads.WorkflowInstanceChangeBroadcast, Prepared_] | None = ...,
) -> Handles[payloads.WorkflowInstanceChangeBroadcast, Prepared_]: ...
@overload
def on(
    event_type: Literal["workflow_instance_change_directed"],
    /,
    *,
    prepare: Prepares[payloads.WorkflowInstanceChangeDirected, Prepared_] | None = ...,
) -> Handles[payloads.WorkflowInstanceChangeDirected, Prepared_]: ...
@overload
def on(
    event_type: Literal["workflow_task_change_broadcast"],
    /,
    *,
    prepare: Prepares[payloads.WorkflowTaskChangeBroadcast, Prepared_] | None = ...,
) -> Handles[payloads.WorkflowTaskChangeBroadcast, Prepared_]: ...
@overload
def on(
    event_type: Literal["workflow_task_change_directed"],
    /,
    *,
    prepare: Prepares[payloads.WorkflowTaskChangeDirected, Prepared_] | None = ...,
) -> Handles[payloads.WorkflowTaskChangeDirected, Prepared_]: ...
@overload
def on(
    event_type: str,
    /,
    *,
    prepare: Prepares[Mapping[str, Any], Prepared_] | None = ...,
) -> Handles[Mapping[str, Any], Prepared_]: ...
