"""The decorator ``on``. Made by ``python -m dev.schemas``; do not edit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from dingbridge.worker.handlers.marks import Handles, handles

if TYPE_CHECKING:  # who has no handler that names one need not load them all
    from dingbridge.events import payloads


@overload
def on(event_type: Literal["agoal_indicator_add"], /) -> "Handles[payloads.AgoalIndicatorAdd]": ...


@overload
def on(event_type: Literal["agoal_indicator_copy"], /) -> "Handles[payloads.AgoalIndicatorCopy]": ...


@overload
def on(event_type: Literal["agoal_indicator_modify"], /) -> "Handles[payloads.AgoalIndicatorModify]": ...


@overload
def on(event_type: Literal["agoal_indicator_remove"], /) -> "Handles[payloads.AgoalIndicatorRemove]": ...


@overload
def on(
    event_type: Literal["agoal_objectiveProgress_add"], /
) -> "Handles[payloads.AgoalObjectiveProgressAdd]": ...


@overload
def on(
    event_type: Literal["agoal_objectiveProgress_modify"], /
) -> "Handles[payloads.AgoalObjectiveProgressModify]": ...


@overload
def on(
    event_type: Literal["agoal_objectiveProgress_remove"], /
) -> "Handles[payloads.AgoalObjectiveProgressRemove]": ...


@overload
def on(event_type: Literal["agoal_objectiveRule_add"], /) -> "Handles[payloads.AgoalObjectiveRuleAdd]": ...


@overload
def on(
    event_type: Literal["agoal_objectiveRule_modify"], /
) -> "Handles[payloads.AgoalObjectiveRuleModify]": ...


@overload
def on(
    event_type: Literal["agoal_objectiveRule_remove"], /
) -> "Handles[payloads.AgoalObjectiveRuleRemove]": ...


@overload
def on(event_type: Literal["agoal_objective_add"], /) -> "Handles[payloads.AgoalObjectiveAdd]": ...


@overload
def on(event_type: Literal["agoal_objective_change"], /) -> "Handles[payloads.AgoalObjectiveChange]": ...


@overload
def on(event_type: Literal["agoal_objective_remove"], /) -> "Handles[payloads.AgoalObjectiveRemove]": ...


@overload
def on(event_type: Literal["ai_assistant_change"], /) -> "Handles[payloads.AiAssistantChange]": ...


@overload
def on(event_type: Literal["ai_assistant_install"], /) -> "Handles[payloads.AiAssistantInstall]": ...


@overload
def on(
    event_type: Literal["aone_assistant_status_change"], /
) -> "Handles[payloads.AoneAssistantStatusChange]": ...


@overload
def on(
    event_type: Literal["aone_assistant_summary_change"], /
) -> "Handles[payloads.AoneAssistantSummaryChange]": ...


@overload
def on(
    event_type: Literal["approve_open_group_expansion"], /
) -> "Handles[payloads.ApproveOpenGroupExpansion]": ...


@overload
def on(event_type: Literal["ats_config_change"], /) -> "Handles[payloads.AtsConfigChange]": ...


@overload
def on(event_type: Literal["ats_job_deliver_change"], /) -> "Handles[payloads.AtsJobDeliverChange]": ...


@overload
def on(event_type: Literal["ats_rights_change"], /) -> "Handles[payloads.AtsRightsChange]": ...


@overload
def on(event_type: Literal["ats_talent_auto_chat_task"], /) -> "Handles[payloads.AtsTalentAutoChatTask]": ...


@overload
def on(event_type: Literal["attend_bossCheck_change"], /) -> "Handles[payloads.AttendBossCheckChange]": ...


@overload
def on(event_type: Literal["attend_group_change"], /) -> "Handles[payloads.AttendGroupChange]": ...


@overload
def on(event_type: Literal["attend_shift_change"], /) -> "Handles[payloads.AttendShiftChange]": ...


@overload
def on(
    event_type: Literal["attend_user_daily_summary_refresh"], /
) -> "Handles[payloads.AttendUserDailySummaryRefresh]": ...


@overload
def on(
    event_type: Literal["attendance_approve_status_change"], /
) -> "Handles[payloads.AttendanceApproveStatusChange]": ...


@overload
def on(event_type: Literal["attendance_check_record"], /) -> "Handles[payloads.AttendanceCheckRecord]": ...


@overload
def on(
    event_type: Literal["attendance_overtime_duration"], /
) -> "Handles[payloads.AttendanceOvertimeDuration]": ...


@overload
def on(
    event_type: Literal["attendance_report_column_change"], /
) -> "Handles[payloads.AttendanceReportColumnChange]": ...


@overload
def on(
    event_type: Literal["attendance_schedule_change"], /
) -> "Handles[payloads.AttendanceScheduleChange]": ...


@overload
def on(
    event_type: Literal["badge_device_status_change"], /
) -> "Handles[payloads.BadgeDeviceStatusChange]": ...


@overload
def on(event_type: Literal["blackboard_sent"], /) -> "Handles[payloads.BlackboardSent]": ...


@overload
def on(event_type: Literal["bpms_instance_change"], /) -> "Handles[payloads.BpmsInstanceChange]": ...


@overload
def on(event_type: Literal["bpms_task_change"], /) -> "Handles[payloads.BpmsTaskChange]": ...


@overload
def on(event_type: Literal["calendar_event_change"], /) -> "Handles[payloads.CalendarEventChange]": ...


@overload
def on(event_type: Literal["change_auth"], /) -> "Handles[payloads.ChangeAuth]": ...


@overload
def on(event_type: Literal["chat_add_member"], /) -> "Handles[payloads.ChatAddMember]": ...


@overload
def on(event_type: Literal["chat_disband"], /) -> "Handles[payloads.ChatDisband]": ...


@overload
def on(event_type: Literal["chat_quit"], /) -> "Handles[payloads.ChatQuit]": ...


@overload
def on(event_type: Literal["chat_remove_member"], /) -> "Handles[payloads.ChatRemoveMember]": ...


@overload
def on(event_type: Literal["chat_template_change"], /) -> "Handles[payloads.ChatTemplateChange]": ...


@overload
def on(event_type: Literal["chat_update_owner"], /) -> "Handles[payloads.ChatUpdateOwner]": ...


@overload
def on(event_type: Literal["chat_update_title"], /) -> "Handles[payloads.ChatUpdateTitle]": ...


@overload
def on(event_type: Literal["check_in"], /) -> "Handles[payloads.CheckIn]": ...


@overload
def on(event_type: Literal["commercial_solution"], /) -> "Handles[payloads.CommercialSolution]": ...


@overload
def on(event_type: Literal["contact_add_org"], /) -> "Handles[payloads.ContactAddOrg]": ...


@overload
def on(event_type: Literal["contact_leave_org"], /) -> "Handles[payloads.ContactLeaveOrg]": ...


@overload
def on(event_type: Literal["contact_modify_org"], /) -> "Handles[payloads.ContactModifyOrg]": ...


@overload
def on(event_type: Literal["crm_customer_track"], /) -> "Handles[payloads.CrmCustomerTrack]": ...


@overload
def on(event_type: Literal["device_bind_update"], /) -> "Handles[payloads.DeviceBindUpdate]": ...


@overload
def on(event_type: Literal["ding_badge_verify"], /) -> "Handles[payloads.DingBadgeVerify]": ...


@overload
def on(
    event_type: Literal["ding_paas_object_data_create"], /
) -> "Handles[payloads.DingPaasObjectDataCreate]": ...


@overload
def on(
    event_type: Literal["ding_paas_object_data_delete"], /
) -> "Handles[payloads.DingPaasObjectDataDelete]": ...


@overload
def on(
    event_type: Literal["ding_paas_object_data_update"], /
) -> "Handles[payloads.DingPaasObjectDataUpdate]": ...


@overload
def on(event_type: Literal["dingtalk_projection"], /) -> "Handles[payloads.DingtalkProjection]": ...


@overload
def on(event_type: Literal["doc_export_completed"], /) -> "Handles[payloads.DocExportCompleted]": ...


@overload
def on(event_type: Literal["doc_spaces_create_team"], /) -> "Handles[payloads.DocSpacesCreateTeam]": ...


@overload
def on(event_type: Literal["doc_spaces_team_change"], /) -> "Handles[payloads.DocSpacesTeamChange]": ...


@overload
def on(
    event_type: Literal["doc_spaces_team_member_change"], /
) -> "Handles[payloads.DocSpacesTeamMemberChange]": ...


@overload
def on(
    event_type: Literal["dvi_custom_ai_analysis_completed"], /
) -> "Handles[payloads.DviCustomAiAnalysisCompleted]": ...


@overload
def on(event_type: Literal["dvi_device_owner_change"], /) -> "Handles[payloads.DviDeviceOwnerChange]": ...


@overload
def on(event_type: Literal["edu_card_delete"], /) -> "Handles[payloads.EduCardDelete]": ...


@overload
def on(event_type: Literal["edu_card_update"], /) -> "Handles[payloads.EduCardUpdate]": ...


@overload
def on(event_type: Literal["edu_dept_delete"], /) -> "Handles[payloads.EduDeptDelete]": ...


@overload
def on(event_type: Literal["edu_dept_insert"], /) -> "Handles[payloads.EduDeptInsert]": ...


@overload
def on(event_type: Literal["edu_dept_update"], /) -> "Handles[payloads.EduDeptUpdate]": ...


@overload
def on(event_type: Literal["edu_trade_pay_status_sync"], /) -> "Handles[payloads.EduTradePayStatusSync]": ...


@overload
def on(event_type: Literal["edu_user_delete"], /) -> "Handles[payloads.EduUserDelete]": ...


@overload
def on(event_type: Literal["edu_user_insert"], /) -> "Handles[payloads.EduUserInsert]": ...


@overload
def on(event_type: Literal["edu_user_relation_delete"], /) -> "Handles[payloads.EduUserRelationDelete]": ...


@overload
def on(event_type: Literal["edu_user_relation_insert"], /) -> "Handles[payloads.EduUserRelationInsert]": ...


@overload
def on(event_type: Literal["edu_user_relation_update"], /) -> "Handles[payloads.EduUserRelationUpdate]": ...


@overload
def on(event_type: Literal["edu_user_update"], /) -> "Handles[payloads.EduUserUpdate]": ...


@overload
def on(event_type: Literal["exclusive_data_transfer"], /) -> "Handles[payloads.ExclusiveDataTransfer]": ...


@overload
def on(
    event_type: Literal["exclusive_delete_trusted_device"], /
) -> "Handles[payloads.ExclusiveDeleteTrustedDevice]": ...


@overload
def on(
    event_type: Literal["flash_minutes_open_event_directed"], /
) -> "Handles[payloads.FlashMinutesOpenEventDirected]": ...


@overload
def on(event_type: Literal["goods_tryout"], /) -> "Handles[payloads.GoodsTryout]": ...


@overload
def on(
    event_type: Literal["hire_agent_sourcing_task_change"], /
) -> "Handles[payloads.HireAgentSourcingTaskChange]": ...


@overload
def on(event_type: Literal["honor_audit"], /) -> "Handles[payloads.HonorAudit]": ...


@overload
def on(event_type: Literal["honor_grant"], /) -> "Handles[payloads.HonorGrant]": ...


@overload
def on(event_type: Literal["hrbrain_talent_pool_add"], /) -> "Handles[payloads.HrbrainTalentPoolAdd]": ...


@overload
def on(
    event_type: Literal["hrbrain_talent_pool_delete"], /
) -> "Handles[payloads.HrbrainTalentPoolDelete]": ...


@overload
def on(event_type: Literal["hrbrain_talent_pool_edit"], /) -> "Handles[payloads.HrbrainTalentPoolEdit]": ...


@overload
def on(
    event_type: Literal["hrbrain_talent_pool_staff_delete"], /
) -> "Handles[payloads.HrbrainTalentPoolStaffDelete]": ...


@overload
def on(event_type: Literal["hrm_app_authorize"], /) -> "Handles[payloads.HrmAppAuthorize]": ...


@overload
def on(event_type: Literal["hrm_mdm_user_change"], /) -> "Handles[payloads.HrmMdmUserChange]": ...


@overload
def on(event_type: Literal["hrm_mdm_user_info_change"], /) -> "Handles[payloads.HrmMdmUserInfoChange]": ...


@overload
def on(event_type: Literal["hrm_solution_manage"], /) -> "Handles[payloads.HrmSolutionManage]": ...


@overload
def on(event_type: Literal["hrm_user_record_change"], /) -> "Handles[payloads.HrmUserRecordChange]": ...


@overload
def on(event_type: Literal["im_cool_app_install"], /) -> "Handles[payloads.ImCoolAppInstall]": ...


@overload
def on(event_type: Literal["im_cool_app_uninstall"], /) -> "Handles[payloads.ImCoolAppUninstall]": ...


@overload
def on(
    event_type: Literal["industry_medical_dept_event"], /
) -> "Handles[payloads.IndustryMedicalDeptEvent]": ...


@overload
def on(
    event_type: Literal["industry_medical_dept_prop_event"], /
) -> "Handles[payloads.IndustryMedicalDeptPropEvent]": ...


@overload
def on(
    event_type: Literal["industry_medical_full_sync"], /
) -> "Handles[payloads.IndustryMedicalFullSync]": ...


@overload
def on(
    event_type: Literal["industry_medical_user_dept_event"], /
) -> "Handles[payloads.IndustryMedicalUserDeptEvent]": ...


@overload
def on(
    event_type: Literal["industry_medical_user_prop_event"], /
) -> "Handles[payloads.IndustryMedicalUserPropEvent]": ...


@overload
def on(event_type: Literal["inner_app_release"], /) -> "Handles[payloads.InnerAppRelease]": ...


@overload
def on(event_type: Literal["inner_app_scopes_change"], /) -> "Handles[payloads.InnerAppScopesChange]": ...


@overload
def on(event_type: Literal["inner_app_status_change"], /) -> "Handles[payloads.InnerAppStatusChange]": ...


@overload
def on(event_type: Literal["inner_app_version_publish"], /) -> "Handles[payloads.InnerAppVersionPublish]": ...


@overload
def on(
    event_type: Literal["inner_app_version_rollback"], /
) -> "Handles[payloads.InnerAppVersionRollback]": ...


@overload
def on(
    event_type: Literal["integration_app_install_event"], /
) -> "Handles[payloads.IntegrationAppInstallEvent]": ...


@overload
def on(event_type: Literal["isw_user_event_received"], /) -> "Handles[payloads.IswUserEventReceived]": ...


@overload
def on(event_type: Literal["isw_user_msg_received"], /) -> "Handles[payloads.IswUserMsgReceived]": ...


@overload
def on(event_type: Literal["label_conf_add"], /) -> "Handles[payloads.LabelConfAdd]": ...


@overload
def on(event_type: Literal["label_conf_del"], /) -> "Handles[payloads.LabelConfDel]": ...


@overload
def on(event_type: Literal["label_conf_modify"], /) -> "Handles[payloads.LabelConfModify]": ...


@overload
def on(event_type: Literal["label_user_change"], /) -> "Handles[payloads.LabelUserChange]": ...


@overload
def on(event_type: Literal["leave_quota_update"], /) -> "Handles[payloads.LeaveQuotaUpdate]": ...


@overload
def on(event_type: Literal["leave_record_change"], /) -> "Handles[payloads.LeaveRecordChange]": ...


@overload
def on(event_type: Literal["light_opportunity_notice"], /) -> "Handles[payloads.LightOpportunityNotice]": ...


@overload
def on(event_type: Literal["live_statistic_done_event"], /) -> "Handles[payloads.LiveStatisticDoneEvent]": ...


@overload
def on(event_type: Literal["live_status_change_event"], /) -> "Handles[payloads.LiveStatusChangeEvent]": ...


@overload
def on(event_type: Literal["live_update_event"], /) -> "Handles[payloads.LiveUpdateEvent]": ...


@overload
def on(event_type: Literal["live_watch_playback_event"], /) -> "Handles[payloads.LiveWatchPlaybackEvent]": ...


@overload
def on(event_type: Literal["market_ai_agent_order"], /) -> "Handles[payloads.MarketAiAgentOrder]": ...


@overload
def on(event_type: Literal["market_buy"], /) -> "Handles[payloads.MarketBuy]": ...


@overload
def on(event_type: Literal["market_order"], /) -> "Handles[payloads.MarketOrder]": ...


@overload
def on(event_type: Literal["market_order_refund_event"], /) -> "Handles[payloads.MarketOrderRefundEvent]": ...


@overload
def on(event_type: Literal["market_order_tag"], /) -> "Handles[payloads.MarketOrderTag]": ...


@overload
def on(event_type: Literal["market_service_close"], /) -> "Handles[payloads.MarketServiceClose]": ...


@overload
def on(event_type: Literal["market_service_open"], /) -> "Handles[payloads.MarketServiceOpen]": ...


@overload
def on(event_type: Literal["meeting_asr_result_event"], /) -> "Handles[payloads.MeetingAsrResultEvent]": ...


@overload
def on(
    event_type: Literal["meeting_asr_result_event_directed"], /
) -> "Handles[payloads.MeetingAsrResultEventDirected]": ...


@overload
def on(
    event_type: Literal["meeting_member_status_change"], /
) -> "Handles[payloads.MeetingMemberStatusChange]": ...


@overload
def on(
    event_type: Literal["meeting_member_status_change_target_push"], /
) -> "Handles[payloads.MeetingMemberStatusChangeTargetPush]": ...


@overload
def on(event_type: Literal["meeting_status_change"], /) -> "Handles[payloads.MeetingStatusChange]": ...


@overload
def on(
    event_type: Literal["meeting_status_change_target_push"], /
) -> "Handles[payloads.MeetingStatusChangeTargetPush]": ...


@overload
def on(event_type: Literal["meetingroom_book"], /) -> "Handles[payloads.MeetingroomBook]": ...


@overload
def on(event_type: Literal["meetingroom_room_info"], /) -> "Handles[payloads.MeetingroomRoomInfo]": ...


@overload
def on(
    event_type: Literal["oa_timeout_plugin_task_msg"], /
) -> "Handles[payloads.OaTimeoutPluginTaskMsg]": ...


@overload
def on(event_type: Literal["official_account_follow"], /) -> "Handles[payloads.OfficialAccountFollow]": ...


@overload
def on(
    event_type: Literal["official_account_unfollow"], /
) -> "Handles[payloads.OfficialAccountUnfollow]": ...


@overload
def on(
    event_type: Literal["official_account_user_data_apply_result"], /
) -> "Handles[payloads.OfficialAccountUserDataApplyResult]": ...


@overload
def on(event_type: Literal["open_batch_trade_callback"], /) -> "Handles[payloads.OpenBatchTradeCallback]": ...


@overload
def on(
    event_type: Literal["open_meeting_room_central_control"], /
) -> "Handles[payloads.OpenMeetingRoomCentralControl]": ...


@overload
def on(
    event_type: Literal["open_meeting_room_device_alarm"], /
) -> "Handles[payloads.OpenMeetingRoomDeviceAlarm]": ...


@overload
def on(
    event_type: Literal["open_meeting_room_device_bind_change"], /
) -> "Handles[payloads.OpenMeetingRoomDeviceBindChange]": ...


@overload
def on(
    event_type: Literal["open_meeting_room_device_property_change"], /
) -> "Handles[payloads.OpenMeetingRoomDevicePropertyChange]": ...


@overload
def on(
    event_type: Literal["open_user_agreement_callback"], /
) -> "Handles[payloads.OpenUserAgreementCallback]": ...


@overload
def on(event_type: Literal["org_admin_add"], /) -> "Handles[payloads.OrgAdminAdd]": ...


@overload
def on(event_type: Literal["org_admin_remove"], /) -> "Handles[payloads.OrgAdminRemove]": ...


@overload
def on(event_type: Literal["org_change"], /) -> "Handles[payloads.OrgChange]": ...


@overload
def on(event_type: Literal["org_dept_create"], /) -> "Handles[payloads.OrgDeptCreate]": ...


@overload
def on(event_type: Literal["org_dept_modify"], /) -> "Handles[payloads.OrgDeptModify]": ...


@overload
def on(event_type: Literal["org_dept_remove"], /) -> "Handles[payloads.OrgDeptRemove]": ...


@overload
def on(event_type: Literal["org_file_send_check"], /) -> "Handles[payloads.OrgFileSendCheck]": ...


@overload
def on(event_type: Literal["org_micro_app_remove"], /) -> "Handles[payloads.OrgMicroAppRemove]": ...


@overload
def on(event_type: Literal["org_micro_app_restore"], /) -> "Handles[payloads.OrgMicroAppRestore]": ...


@overload
def on(
    event_type: Literal["org_micro_app_scope_update"], /
) -> "Handles[payloads.OrgMicroAppScopeUpdate]": ...


@overload
def on(event_type: Literal["org_micro_app_stop"], /) -> "Handles[payloads.OrgMicroAppStop]": ...


@overload
def on(event_type: Literal["org_remove"], /) -> "Handles[payloads.OrgRemove]": ...


@overload
def on(event_type: Literal["org_role_add"], /) -> "Handles[payloads.OrgRoleAdd]": ...


@overload
def on(event_type: Literal["org_role_modify"], /) -> "Handles[payloads.OrgRoleModify]": ...


@overload
def on(event_type: Literal["org_role_remove"], /) -> "Handles[payloads.OrgRoleRemove]": ...


@overload
def on(event_type: Literal["org_suite_auth"], /) -> "Handles[payloads.OrgSuiteAuth]": ...


@overload
def on(event_type: Literal["org_suite_change"], /) -> "Handles[payloads.OrgSuiteChange]": ...


@overload
def on(event_type: Literal["org_suite_relieve"], /) -> "Handles[payloads.OrgSuiteRelieve]": ...


@overload
def on(event_type: Literal["org_update"], /) -> "Handles[payloads.OrgUpdate]": ...


@overload
def on(event_type: Literal["overtime_to_vacation_data"], /) -> "Handles[payloads.OvertimeToVacationData]": ...


@overload
def on(
    event_type: Literal["project_project_app_changed"], /
) -> "Handles[payloads.ProjectProjectAppChanged]": ...


@overload
def on(event_type: Literal["project_project_changed"], /) -> "Handles[payloads.ProjectProjectChanged]": ...


@overload
def on(
    event_type: Literal["project_project_member_changed"], /
) -> "Handles[payloads.ProjectProjectMemberChanged]": ...


@overload
def on(event_type: Literal["project_project_updated"], /) -> "Handles[payloads.ProjectProjectUpdated]": ...


@overload
def on(event_type: Literal["project_task_changed"], /) -> "Handles[payloads.ProjectTaskChanged]": ...


@overload
def on(event_type: Literal["project_task_updated"], /) -> "Handles[payloads.ProjectTaskUpdated]": ...


@overload
def on(event_type: Literal["project_worktime_updated"], /) -> "Handles[payloads.ProjectWorktimeUpdated]": ...


@overload
def on(event_type: Literal["rcm_channel_message_push"], /) -> "Handles[payloads.RcmChannelMessagePush]": ...


@overload
def on(event_type: Literal["robot_msg_read"], /) -> "Handles[payloads.RobotMsgRead]": ...


@overload
def on(event_type: Literal["robot_msg_recall"], /) -> "Handles[payloads.RobotMsgRecall]": ...


@overload
def on(
    event_type: Literal["servicegroup_contact_join_group_form"], /
) -> "Handles[payloads.ServicegroupContactJoinGroupForm]": ...


@overload
def on(
    event_type: Literal["servicegroup_contact_relate_customer"], /
) -> "Handles[payloads.ServicegroupContactRelateCustomer]": ...


@overload
def on(
    event_type: Literal["servicegroup_custom_object_create"], /
) -> "Handles[payloads.ServicegroupCustomObjectCreate]": ...


@overload
def on(
    event_type: Literal["servicegroup_custom_object_delete"], /
) -> "Handles[payloads.ServicegroupCustomObjectDelete]": ...


@overload
def on(
    event_type: Literal["servicegroup_custom_object_edit"], /
) -> "Handles[payloads.ServicegroupCustomObjectEdit]": ...


@overload
def on(
    event_type: Literal["servicegroup_group_info_change"], /
) -> "Handles[payloads.ServicegroupGroupInfoChange]": ...


@overload
def on(
    event_type: Literal["servicegroup_ticket_create"], /
) -> "Handles[payloads.ServicegroupTicketCreate]": ...


@overload
def on(
    event_type: Literal["servicegroup_ticket_deal_feedback"], /
) -> "Handles[payloads.ServicegroupTicketDealFeedback]": ...


@overload
def on(
    event_type: Literal["servicegroup_ticket_memo_add"], /
) -> "Handles[payloads.ServicegroupTicketMemoAdd]": ...


@overload
def on(event_type: Literal["servicegroup_ticket_read"], /) -> "Handles[payloads.ServicegroupTicketRead]": ...


@overload
def on(event_type: Literal["servicegroup_ticket_take"], /) -> "Handles[payloads.ServicegroupTicketTake]": ...


@overload
def on(event_type: Literal["servicegroup_ticket_urge"], /) -> "Handles[payloads.ServicegroupTicketUrge]": ...


@overload
def on(
    event_type: Literal["servicegroup_voc_topic_detail"], /
) -> "Handles[payloads.ServicegroupVocTopicDetail]": ...


@overload
def on(event_type: Literal["shop_group_event"], /) -> "Handles[payloads.ShopGroupEvent]": ...


@overload
def on(event_type: Literal["shop_node_event"], /) -> "Handles[payloads.ShopNodeEvent]": ...


@overload
def on(event_type: Literal["shop_role_event"], /) -> "Handles[payloads.ShopRoleEvent]": ...


@overload
def on(
    event_type: Literal["single_conversation_cool_app_install"], /
) -> "Handles[payloads.SingleConversationCoolAppInstall]": ...


@overload
def on(
    event_type: Literal["single_conversation_cool_app_uninstall"], /
) -> "Handles[payloads.SingleConversationCoolAppUninstall]": ...


@overload
def on(
    event_type: Literal["smart_finance_application_invoice_update"], /
) -> "Handles[payloads.SmartFinanceApplicationInvoiceUpdate]": ...


@overload
def on(
    event_type: Literal["smart_finance_category_change"], /
) -> "Handles[payloads.SmartFinanceCategoryChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_company_info_change"], /
) -> "Handles[payloads.SmartFinanceCompanyInfoChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_customer_change"], /
) -> "Handles[payloads.SmartFinanceCustomerChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_define_data_info_change"], /
) -> "Handles[payloads.SmartFinanceDefineDataInfoChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_define_info_change"], /
) -> "Handles[payloads.SmartFinanceDefineInfoChange]": ...


@overload
def on(event_type: Literal["smart_finance_form_change"], /) -> "Handles[payloads.SmartFinanceFormChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_multi_company_info_change"], /
) -> "Handles[payloads.SmartFinanceMultiCompanyInfoChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_product_change"], /
) -> "Handles[payloads.SmartFinanceProductChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_project_change"], /
) -> "Handles[payloads.SmartFinanceProjectChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_role_member_change"], /
) -> "Handles[payloads.SmartFinanceRoleMemberChange]": ...


@overload
def on(
    event_type: Literal["smart_finance_supplier_change"], /
) -> "Handles[payloads.SmartFinanceSupplierChange]": ...


@overload
def on(event_type: Literal["storage_dentry_create"], /) -> "Handles[payloads.StorageDentryCreate]": ...


@overload
def on(event_type: Literal["storage_dentry_delete"], /) -> "Handles[payloads.StorageDentryDelete]": ...


@overload
def on(event_type: Literal["storage_dentry_update"], /) -> "Handles[payloads.StorageDentryUpdate]": ...


@overload
def on(event_type: Literal["suite_relieve"], /) -> "Handles[payloads.SuiteRelieve]": ...


@overload
def on(event_type: Literal["suite_ticket"], /) -> "Handles[payloads.SuiteTicket]": ...


@overload
def on(event_type: Literal["tmp_auth_code"], /) -> "Handles[payloads.TmpAuthCode]": ...


@overload
def on(event_type: Literal["todo_task_create"], /) -> "Handles[payloads.TodoTaskCreate]": ...


@overload
def on(event_type: Literal["todo_task_delete"], /) -> "Handles[payloads.TodoTaskDelete]": ...


@overload
def on(event_type: Literal["todo_task_update"], /) -> "Handles[payloads.TodoTaskUpdate]": ...


@overload
def on(event_type: Literal["train_course_user_info"], /) -> "Handles[payloads.TrainCourseUserInfo]": ...


@overload
def on(
    event_type: Literal["transfer_contact_id_job_result"], /
) -> "Handles[payloads.TransferContactIdJobResult]": ...


@overload
def on(event_type: Literal["user_active_org"], /) -> "Handles[payloads.UserActiveOrg]": ...


@overload
def on(event_type: Literal["user_add_org"], /) -> "Handles[payloads.UserAddOrg]": ...


@overload
def on(event_type: Literal["user_dept_change"], /) -> "Handles[payloads.UserDeptChange]": ...


@overload
def on(event_type: Literal["user_leave_org"], /) -> "Handles[payloads.UserLeaveOrg]": ...


@overload
def on(event_type: Literal["user_modify_org"], /) -> "Handles[payloads.UserModifyOrg]": ...


@overload
def on(event_type: Literal["user_role_change"], /) -> "Handles[payloads.UserRoleChange]": ...


@overload
def on(event_type: Literal["workflow_form_change"], /) -> "Handles[payloads.WorkflowFormChange]": ...


@overload
def on(
    event_type: Literal["workflow_instance_change_broadcast"], /
) -> "Handles[payloads.WorkflowInstanceChangeBroadcast]": ...


@overload
def on(
    event_type: Literal["workflow_instance_change_directed"], /
) -> "Handles[payloads.WorkflowInstanceChangeDirected]": ...


@overload
def on(
    event_type: Literal["workflow_task_change_broadcast"], /
) -> "Handles[payloads.WorkflowTaskChangeBroadcast]": ...


@overload
def on(
    event_type: Literal["workflow_task_change_directed"], /
) -> "Handles[payloads.WorkflowTaskChangeDirected]": ...


@overload
def on(event_type: str, /) -> Handles[Mapping[str, Any]]: ...


def on(event_type: str, /) -> Any:
    """Make a method of a ``Consumer`` the handler of one EventType; it has the arguments of ``handle``.

    Annotate it with what ``data`` holds, as ``event: Event[UserAddOrg]`` (``dingbridge.events.payloads``),
    and the type checker compares the two. ``event: Event`` is right for every type, and knows nothing of its
    fields. Several ``on`` may stand above one another. A name with a dot in it is the CloudEvents ``type``
    of another sender, as control topics hold them.

    Raises ``TypeError`` for a method that is not ``async``.
    """
    return handles(event_type)
