"""Columns of every raw table, in order, with their types: the shape that the loaders land (see
the sources in dbt_project).
"""

from typing import Final

# text, int, bool, time (whole seconds UTC), float and money (two decimals)
_COLUMNS: Final = {
    "stripe.customer": """
        id:text created:time name:text email:text currency:text delinquent:bool description:text
        address_country:text metadata:text livemode:bool is_deleted:bool _fivetran_synced:time
    """,
    "stripe.subscription_history": """
        id:text customer_id:text status:text quantity:int created:time start_date:time
        current_period_start:time current_period_end:time trial_start:time trial_end:time
        cancel_at:time cancel_at_period_end:bool canceled_at:time ended_at:time metadata:text
        livemode:bool _fivetran_start:time _fivetran_end:time _fivetran_active:bool
        _fivetran_synced:time
    """,
    "stripe.subscription_item": """
        id:text subscription_id:text plan_id:text quantity:int created:time
        current_period_start:time current_period_end:time metadata:text _fivetran_synced:time
    """,
    "stripe.price": """
        id:text product_id:text currency:text unit_amount:int recurring_interval:text
        recurring_interval_count:int type:text nickname:text active:bool created:time
        livemode:bool metadata:text _fivetran_synced:time
    """,
    "stripe.product": """
        id:text name:text active:bool created:time is_deleted:bool metadata:text
        _fivetran_synced:time
    """,
    "stripe.invoice": """
        id:text customer_id:text subscription_id:text status:text currency:text amount_due:int
        amount_paid:int amount_remaining:int subtotal:int tax:int total:int created:time
        due_date:time period_start:time period_end:time billing_reason:text paid:bool
        attempt_count:int number:text metadata:text livemode:bool is_deleted:bool
        _fivetran_synced:time
    """,
    "stripe.invoice_line_item": """
        id:text invoice_id:text subscription_id:text subscription_item_id:text plan_id:text
        quantity:int amount:int currency:text period_start:time period_end:time proration:bool
        type:text unique_id:text description:text metadata:text _fivetran_synced:time
    """,
    "stripe.coupon": """
        id:text name:text percent_off:float amount_off:int currency:text duration:text
        duration_in_months:int valid:bool created:time _fivetran_synced:time
    """,
    "stripe.discount": """
        id:text coupon_id:text customer_id:text subscription_id:text start:time end:time
        type:text type_id:text _fivetran_synced:time
    """,
    "zendesk.organization": """
        id:int name:text external_id:text created_at:time updated_at:time _fivetran_synced:time
    """,
    "zendesk.domain_name": """
        index:int organization_id:int domain_name:text _fivetran_synced:time
    """,
    "zendesk.user": """
        id:int email:text name:text role:text organization_id:int external_id:text locale:text
        time_zone:text active:bool suspended:bool created_at:time updated_at:time
        _fivetran_synced:time
    """,
    "zendesk.ticket": """
        id:int subject:text description:text status:text priority:text type:text
        requester_id:int submitter_id:int assignee_id:int organization_id:int created_at:time
        updated_at:time due_at:time via_channel:text is_public:bool _fivetran_synced:time
    """,
    "zendesk.ticket_comment": """
        id:int ticket_id:int user_id:int body:text created:time public:bool
        _fivetran_synced:time
    """,
    "zendesk.ticket_field_history": """
        ticket_id:int field_name:text updated:time value:text user_id:int _fivetran_synced:time
    """,
    "zendesk.ticket_tag": """
        ticket_id:int tag:text _fivetran_synced:time
    """,
    "segment.tracks": """
        id:text anonymous_id:text user_id:text event:text event_text:text timestamp:time
        sent_at:time received_at:time context_group_id:text
    """,
    "segment.error_encountered": """
        id:text anonymous_id:text user_id:text event:text event_text:text error_code:text
        feature:text timestamp:time sent_at:time received_at:time context_group_id:text
    """,
    "segment.identifies": """
        id:text anonymous_id:text user_id:text email:text name:text title:text role:text
        locale:text timezone:text context_consent_category_preferences_analytics:bool
        timestamp:time sent_at:time received_at:time
    """,
    "segment.groups": """
        id:text anonymous_id:text user_id:text group_id:text name:text industry:text
        employees:int domain:text timestamp:time sent_at:time received_at:time
    """,
    "segment.pages": """
        id:text anonymous_id:text user_id:text url:text path:text title:text search:text
        referrer:text context_campaign_source:text context_campaign_medium:text
        context_campaign_name:text context_consent_category_preferences_analytics:bool
        timestamp:time sent_at:time received_at:time
    """,
    "hubspot.company": """
        id:int is_deleted:bool property_name:text property_domain:text property_industry:text
        property_country:text property_numberofemployees:int property_annualrevenue:money
        property_hubspot_owner_id:int property_lifecyclestage:text property_createdate:time
        property_stripe_customer_id:text property_workspace_id:text property_renewal_date:time
        property_contract_term_months:int _fivetran_synced:time
    """,
    "hubspot.contact": """
        id:int _fivetran_deleted:bool property_email:text property_firstname:text
        property_lastname:text property_jobtitle:text property_associatedcompanyid:int
        property_hs_buying_role:text property_hs_language:text property_country:text
        property_hs_timezone:text property_hs_email_optout:bool property_hs_legal_basis:text
        property_createdate:time _fivetran_synced:time
    """,
    "hubspot.owner": """
        owner_id:int portal_id:int type:text email:text first_name:text last_name:text
        active_user_id:int created_at:time updated_at:time _fivetran_synced:time
    """,
    "hubspot.email_campaign": """
        id:int app_id:int app_name:text content_id:int name:text subject:text type:text
        _fivetran_synced:time
    """,
    "hubspot.email_event": """
        id:text app_id:int caused_by_created:time caused_by_id:text created:time
        email_campaign_id:int obsoleted_by_created:time obsoleted_by_id:text portal_id:int
        sent_by_created:time sent_by_id:text type:text filtered_event:bool recipient:text
        _fivetran_synced:time
    """,
    "hubspot.email_event_sent": """
        id:text from:text reply_to:text subject:text _fivetran_synced:time
    """,
    "hubspot.email_event_open": """
        id:text browser:text duration:int location:text user_agent:text _fivetran_synced:time
    """,
    "hubspot.email_event_click": """
        id:text browser:text location:text referer:text url:text user_agent:text
        _fivetran_synced:time
    """,
    "hubspot.email_event_bounce": """
        id:text category:text response:text status:text _fivetran_synced:time
    """,
    "hubspot.email_event_status_change": """
        id:text bounced:bool portal_subscription_status:text requested_by:text source:text
        subscriptions:text _fivetran_synced:time
    """,
    "hubspot.deal": """
        deal_id:int is_deleted:bool deal_pipeline_id:text deal_pipeline_stage_id:text owner_id:int
        property_dealname:text property_amount:money property_deal_currency_code:text
        property_dealtype:text property_hs_is_closed:bool property_hs_is_closed_won:bool
        property_createdate:time property_closedate:time _fivetran_synced:time
    """,
    "hubspot.deal_company": """
        deal_id:int company_id:int type_id:int _fivetran_synced:time
    """,
    "hubspot.engagement": """
        id:int is_deleted:bool active:bool owner_id:int portal_id:int type:text created_at:time
        last_updated:time timestamp:time _fivetran_synced:time
    """,
    "hubspot.engagement_call": """
        engagement_id:int property_hs_call_title:text property_hs_call_disposition:text
        property_hs_call_duration:int property_hs_call_status:text _fivetran_synced:time
    """,
    "hubspot.engagement_meeting": """
        engagement_id:int property_hs_meeting_title:text property_hs_meeting_outcome:text
        property_hs_meeting_start_time:time property_hs_meeting_end_time:time
        _fivetran_synced:time
    """,
    "hubspot.engagement_task": """
        engagement_id:int property_hs_task_subject:text property_hs_task_status:text
        property_hs_task_priority:text property_hs_task_completion_date:time
        _fivetran_synced:time
    """,
    "hubspot.engagement_contact": """
        engagement_id:int contact_id:int _fivetran_synced:time
    """,
    "hubspot.engagement_company": """
        engagement_id:int company_id:int _fivetran_synced:time
    """,
    "surveys.nps_answers": """
        id:text email:text score:int comment:text language:text asked_at:time answered_at:time
        _loaded_at:time
    """,
    "surveys.csat_answers": """
        id:text ticket_id:int email:text score:int scale_min:int scale_max:int comment:text
        asked_at:time answered_at:time _loaded_at:time
    """,
    "surveys.ces_answers": """
        id:text email:text question:text score:int scale_min:int scale_max:int
        higher_is_better:bool asked_at:time answered_at:time _loaded_at:time
    """,
    "webinars.webinar": """
        id:text topic:text title:text language:text starts_at:time minutes:int _loaded_at:time
    """,
    "webinars.registration": """
        id:text webinar_id:text email:text name:text registered_at:time joined_at:time
        attended_minutes:int _loaded_at:time
    """,
    "success_plans.goal": """
        id:text hubspot_company_id:int workspace_id:text metric:text baseline_value:float
        target_value:float current_value:float due_on:time status:text achieved_at:time
        created_at:time updated_at:time _loaded_at:time
    """,
    "community.users": """
        id:text email:text name:text created_at:time _loaded_at:time
    """,
    "community.posts": """
        id:text author_id:text topic:text title:text language:text status:text vote_count:int
        comment_count:int created_at:time _loaded_at:time
    """,
    "community.post_comments": """
        id:text post_id:text author_id:text is_accepted:bool created_at:time _loaded_at:time
    """,
    "community.ideas": """
        id:text author_id:text title:text feature:text status:text vote_count:int
        created_at:time _loaded_at:time
    """,
    "community.votes": """
        id:text item_id:text item_type:text user_id:text value:int created_at:time
        _loaded_at:time
    """,
    "community.idea_status_changes": """
        id:text idea_id:text status:text changed_at:time _loaded_at:time
    """,
}

# table name ("source.table") -> column name -> type
TABLES: Final[dict[str, dict[str, str]]] = {
    table: dict(pair.split(":", 1) for pair in columns.split())
    for table, columns in _COLUMNS.items()
}

# the column in which a loader notes when it landed a row
LANDED_AT: Final[dict[str, str]] = {
    table: "received_at" if table.startswith("segment.") else list(columns)[-1]
    for table, columns in TABLES.items()
}
