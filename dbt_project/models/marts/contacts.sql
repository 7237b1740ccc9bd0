-- Everything known about a person at a customer in one row, first of all whether they may be written to.
with

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

contact_usage as (

    select * from {{ ref('int_contacts__used') }}

),

suppressed as (

    select * from {{ ref('int_contacts__suppressed') }}

),

visitors as (

    select * from {{ ref('int_visitors__identified') }}

),

touchpoints as (

    select * from {{ ref('touchpoints') }}

),

time_zones as (

    select * from {{ ref('time_zones') }}

),

linked as (

    select distinct contact_id
    from visitors
    where contact_id is not null

),

-- the gravest reason not to write stands for the rest
suppressions as (

    select
        email,
        max(case when reason = 'unsubscribed' then suppressed_at end) as unsubscribed_at,
        max(case when reason = 'bounced' then suppressed_at end) as bounced_at,
        max(case when reason = 'complained' then suppressed_at end) as complained_at
    from suppressed
    group by email

),

-- the channel they answered most often, of late; inbound is an answer too
answered as (

    select
        contact_id,
        case channel when 'phone' then 'meeting' else channel end as channel,
        max(reacted_at) as last_reacted_at,
        sum(case when cast(occurred_at as date) > {{ days_before(as_of_date(), 90) }} then 1 else 0 end) as answers_90d
    from touchpoints
    where
        contact_id is not null
        and reaction <> 'none'
        and channel in ('email', 'in_app', 'community', 'webinar', 'meeting', 'phone')
    group by
        contact_id,
        case channel when 'phone' then 'meeting' else channel end

),

ranked_channels as (

    select
        answered.*,
        max(last_reacted_at) over (partition by contact_id) as last_answered_at,
        row_number() over (
            partition by contact_id
            order by answers_90d desc, last_reacted_at desc, channel
        ) as channel_rank
    from answered

),

described as (

    select
        contacts.*,
        contact_usage.last_active_at,
        case when ranked_channels.answers_90d > 0 then ranked_channels.channel end as preferred_channel,
        case
            when ranked_channels.last_answered_at > contact_usage.last_active_at or contact_usage.last_active_at is null
                then ranked_channels.last_answered_at
            else contact_usage.last_active_at
        end as last_engaged_at,
        coalesce(contact_usage.active_days_28d, 0) as active_days_28d,
        coalesce(contact_usage.features_28d, 0) as features_28d,
        contacts.has_opted_out or suppressions.unsubscribed_at is not null or suppressions.complained_at is not null
            as is_unsubscribed,
        suppressions.bounced_at is not null as is_bounced,
        linked.contact_id is not null as is_linked_to_visitor,
        time_zones.time_zone as known_time_zone
    from contacts
    -- HubSpot writes asia_slash_tokyo; a name that no calendar knows is none
    left join time_zones
        on replace(lower(contacts.time_zone), '_slash_', '/') = time_zones.spelling
    left join contact_usage
        on contacts.contact_id = contact_usage.contact_id
    left join suppressions
        on contacts.email = suppressions.email
    left join linked
        on contacts.contact_id = linked.contact_id
    left join ranked_channels
        on
            contacts.contact_id = ranked_channels.contact_id
            and ranked_channels.channel_rank = 1

),

final as (

    select
        ---------- ids
        contact_id,
        customer_id,
        user_id,
        hubspot_contact_id,
        zendesk_user_id,
        ---------- attributes
        email,
        first_name,
        last_name,
        full_name,
        job_title,
        language,
        known_time_zone as time_zone,
        country,
        case
            when buying_role = 'DECISION_MAKER' then 'decision_maker'
            when buying_role = 'ADMIN' or product_role = 'admin' then 'admin'
            when buying_role in ('END_USER', 'CHAMPION') or product_role is not null then 'operator'
            else 'unknown'
        end as role,
        coalesce(buying_role = 'CHAMPION', false) or (
            active_days_28d >= {{ threshold('champion_min_active_days') }}
            and features_28d >= {{ threshold('champion_min_features') }}
        ) as is_champion,
        is_linked_to_visitor,
        preferred_channel,
        ---------- may they be written to
        is_unsubscribed,
        is_bounced,
        legal_basis,
        -- help with what a customer bought rests on the contract; anything else needs a basis that the CRM knows
        legal_basis is not null and not is_unsubscribed and not is_bounced as may_be_mailed,
        ---------- measures
        cast(active_days_28d as integer) as active_days_28d,
        cast(features_28d as integer) as features_28d,
        ---------- timestamps
        last_active_at,
        last_engaged_at,
        created_at
    from described

)

select * from final
