with

activities as (

    select
        'send_email' as activity,
        'SENT' as event_type,
        *
    from {{ landed('marketo', 'activity_send_email', [
        'id', 'lead_id', 'primary_attribute_value_id', 'campaign_run_id', 'activity_date', 'is_bot_activity',
    ], optional=true) }}

    union all

    select
        'email_delivered' as activity,
        'DELIVERED' as event_type,
        *
    from {{ landed('marketo', 'activity_email_delivered', [
        'id', 'lead_id', 'primary_attribute_value_id', 'campaign_run_id', 'activity_date', 'is_bot_activity',
    ], optional=true) }}

    union all

    select
        'open_email' as activity,
        'OPEN' as event_type,
        *
    from {{ landed('marketo', 'activity_open_email', [
        'id', 'lead_id', 'primary_attribute_value_id', 'campaign_run_id', 'activity_date', 'is_bot_activity',
    ], optional=true) }}

    union all

    select
        'click_email' as activity,
        'CLICK' as event_type,
        *
    from {{ landed('marketo', 'activity_click_email', [
        'id', 'lead_id', 'primary_attribute_value_id', 'campaign_run_id', 'activity_date', 'is_bot_activity',
    ], optional=true) }}

    union all

    select
        'email_bounced' as activity,
        'BOUNCE' as event_type,
        *
    from {{ landed('marketo', 'activity_email_bounced', [
        'id', 'lead_id', 'primary_attribute_value_id', 'campaign_run_id', 'activity_date', 'is_bot_activity',
    ], optional=true) }}

    union all

    select
        'unsubscribe_email' as activity,
        'STATUSCHANGE' as event_type,
        *
    from {{ landed('marketo', 'activity_unsubscribe_email', [
        'id', 'lead_id', 'primary_attribute_value_id', 'campaign_run_id', 'activity_date', 'is_bot_activity',
    ], optional=true) }}

),

source as (

    select
        *,
        {{ load_rank(['activity', 'id'], '_landed_at') }} as load_rank
    from activities

),

leads as (

    select * from {{ ref('stg_marketo__leads') }}

),

renamed as (

    select
        ---------- ids
        {{ dbt.concat(['source.activity', "'-'", 'cast(source.id as ' ~ dbt.type_string() ~ ')']) }} as email_event_id,
        -- one lead gets one mail once in a run of a campaign: that is what its events share
        {{ hashed_id(['source.lead_id', 'source.primary_attribute_value_id', 'source.campaign_run_id']) }} as sent_by_id,
        cast(source.primary_attribute_value_id as {{ dbt.type_string() }}) as email_campaign_id,
        ---------- attributes
        source.event_type,
        leads.email,
        coalesce({{ true_or_false('source.is_bot_activity') }}, false) as is_filtered,
        case when source.event_type = 'STATUSCHANGE' then 'UNSUBSCRIBED' end as subscription_status,
        -- Marketo's table of bounces holds those for good; the others are email_bounced_soft
        case when source.event_type = 'BOUNCE' then '5' end as smtp_status,
        ---------- timestamps
        {{ utc_timestamp('source.activity_date') }} as occurred_at,
        {{ utc_timestamp('source._landed_at') }} as loaded_at
    from source
    left join leads
        on cast(source.lead_id as {{ dbt.type_string() }}) = leads.marketo_lead_id
    where
        source.load_rank = 1
        and not source._is_deleted
        and source.id is not null

),

known as (

    select *
    from renamed
    where occurred_at <= {{ as_of_at() }}

)

select * from known
