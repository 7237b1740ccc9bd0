-- Every touch of a person, by whatever channel: what it was, how they reacted, and what they did next.
with

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

mails as (

    select * from {{ ref('int_mails__engaged') }}

),

mail_events as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__email_events', 'marketo': 'stg_marketo__email_events'},
        {
            'sent_by_id': dbt.type_string(),
            'email_campaign_id': dbt.type_string(),
            'event_type': dbt.type_string(),
            'is_filtered': 'boolean',
            'occurred_at': dbt.type_timestamp(),
        },
    ) }}

),

campaigns as (

    select * from {{ ref('stg_hubspot__email_campaigns') }}

),

talks as (

    select *
    from {{ ref('int_owner_acts__attributed') }}
    where act_type in ('call', 'meeting')

),

registrations as (

    select * from {{ ref('stg_webinars__registrations') }}

),

posts as (

    select * from {{ ref('stg_community__posts') }}

),

post_comments as (

    select * from {{ ref('stg_community__post_comments') }}

),

community_users as (

    select * from {{ ref('stg_community__users') }}

),

nps_answers as (

    select * from {{ ref('stg_surveys__nps_answers') }}

),

ces_answers as (

    select * from {{ ref('stg_surveys__ces_answers') }}

),

deliveries as (

    select * from {{ ref('stg_activation__deliveries') }}

),

playbooks as (

    select * from {{ ref('playbooks') }}

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

page_views as (

    select * from {{ ref('int_page_views__attributed') }}

),

tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

mail_facts as (

    select
        source_name,
        sent_by_id,
        max(email_campaign_id) as email_campaign_id,
        min(case when event_type = 'DELIVERED' then occurred_at end) as delivered_at,
        min(case when event_type = 'OPEN' and not is_filtered then occurred_at end) as opened_at,
        min(case when event_type = 'CLICK' and not is_filtered then occurred_at end) as clicked_at
    from mail_events
    where event_type in ('DELIVERED', 'OPEN', 'CLICK')
    group by
        source_name,
        sent_by_id

),

-- also by an address that the person has left
addresses as (

    select
        links.email,
        min(contacts.contact_id) as contact_id,
        min(contacts.customer_id) as customer_id
    from links
    inner join contacts
        on links.contact_id = contacts.contact_id
    where
        links.is_kept
        and links.record_kind <> 'cookie'
    group by links.email

),

mail_touches as (

    select
        {{ hashed_id(["'mail'", 'mail_facts.source_name', 'mails.sent_by_id', 'mails.contact_id']) }} as touchpoint_id,
        'mail' as touchpoint_type,
        'email' as channel,
        'outbound' as direction,
        -- a mailing that nobody describes counts as commercial
        coalesce(campaigns.is_commercial, true) as is_commercial,
        mails.customer_id,
        mails.contact_id,
        cast(null as {{ dbt.type_string() }}) as owner_id,
        mail_facts.source_name,
        coalesce(campaigns.subject, campaigns.campaign_name) as topic,
        mail_facts.delivered_at as occurred_at,
        least(coalesce(mail_facts.clicked_at, mail_facts.opened_at), coalesce(mail_facts.opened_at, mail_facts.clicked_at))
            as reacted_at,
        case
            when mail_facts.clicked_at is not null then 'clicked'
            when mail_facts.opened_at is not null then 'opened'
            else 'none'
        end as reaction
    from mails
    inner join mail_facts
        on mails.sent_by_id = mail_facts.sent_by_id
    left join campaigns
        on mail_facts.email_campaign_id = campaigns.email_campaign_id

),

-- a call or meeting touches each contact named in it; with none named, the customer
talk_touches as (

    select
        {{ hashed_id(["'talk'", 'act_id', 'customer_id', 'contact_id']) }} as touchpoint_id,
        act_type as touchpoint_type,
        case act_type when 'call' then 'phone' else 'meeting' end as channel,
        'outbound' as direction,
        false as is_commercial,
        customer_id,
        contact_id,
        owner_id,
        source_name,
        title as topic,
        occurred_at,
        case when is_talk then occurred_at end as reacted_at,
        case
            when not is_talk then 'none'
            when act_type = 'meeting' then 'attended'
            else 'replied'
        end as reaction
    from talks
    where occurred_at <= {{ as_of_at() }}

),

webinar_touches as (

    select
        {{ hashed_id(["'webinar'", 'registrations.registration_id']) }} as touchpoint_id,
        'webinar' as touchpoint_type,
        'webinar' as channel,
        'outbound' as direction,
        false as is_commercial,
        addresses.customer_id,
        addresses.contact_id,
        cast(null as {{ dbt.type_string() }}) as owner_id,
        'webinars' as source_name,
        registrations.topic,
        registrations.started_at as occurred_at,
        case when registrations.has_attended then registrations.started_at end as reacted_at,
        case when registrations.has_attended then 'attended' else 'none' end as reaction
    from registrations
    inner join addresses
        on registrations.email = addresses.email
    where registrations.started_at <= {{ as_of_at() }}

),

community_writings as (

    select
        post_id as writing_id,
        author_id,
        topic,
        created_at
    from posts

    union all

    select
        post_comments.post_comment_id as writing_id,
        post_comments.author_id,
        posts.topic,
        post_comments.created_at
    from post_comments
    left join posts
        on post_comments.post_id = posts.post_id

),

community_touches as (

    select
        {{ hashed_id(["'community'", 'community_writings.writing_id']) }} as touchpoint_id,
        'community' as touchpoint_type,
        'community' as channel,
        'inbound' as direction,
        false as is_commercial,
        addresses.customer_id,
        addresses.contact_id,
        cast(null as {{ dbt.type_string() }}) as owner_id,
        'community' as source_name,
        community_writings.topic,
        community_writings.created_at as occurred_at,
        community_writings.created_at as reacted_at,
        'replied' as reaction
    from community_writings
    inner join community_users
        on community_writings.author_id = community_users.community_user_id
    inner join addresses
        on community_users.email = addresses.email

),

survey_answers as (

    select
        nps_answer_id as answer_id,
        'nps' as topic,
        email,
        answered_at
    from nps_answers

    union all

    select
        answer_id,
        'ces' as topic,
        email,
        answered_at
    from ces_answers

),

survey_touches as (

    select
        {{ hashed_id(["'survey'", 'survey_answers.topic', 'survey_answers.answer_id']) }} as touchpoint_id,
        'survey' as touchpoint_type,
        'survey' as channel,
        'inbound' as direction,
        false as is_commercial,
        addresses.customer_id,
        addresses.contact_id,
        cast(null as {{ dbt.type_string() }}) as owner_id,
        'surveys' as source_name,
        survey_answers.topic,
        survey_answers.answered_at as occurred_at,
        survey_answers.answered_at as reacted_at,
        'replied' as reaction
    from survey_answers
    inner join addresses
        on survey_answers.email = addresses.email

),

-- of our own deliveries, those that reached a person: an unknown outcome may have
delivery_touches as (

    select
        {{ hashed_id(["'delivery'", 'deliveries.delivery_id']) }} as touchpoint_id,
        'delivery' as touchpoint_type,
        playbooks.channel,
        'outbound' as direction,
        coalesce(playbooks.legal_basis, '') <> 'service' as is_commercial,
        contacts.customer_id,
        contacts.contact_id,
        cast(null as {{ dbt.type_string() }}) as owner_id,
        'activation' as source_name,
        deliveries.trigger_name as topic,
        deliveries.settled_at as occurred_at,
        cast(null as {{ dbt.type_timestamp() }}) as reacted_at,
        'none' as reaction
    from deliveries
    inner join contacts
        on deliveries.contact_id = contacts.contact_id
    left join playbooks
        on deliveries.trigger_name = playbooks.trigger_name
    where deliveries.outcome in ('delivered', 'unknown')

),

touches as (

    select * from mail_touches
    union all
    select * from talk_touches
    union all
    select * from webinar_touches
    union all
    select * from community_touches
    union all
    select * from survey_touches
    union all
    select * from delivery_touches

),

-- what people do of their own accord
steps as (

    select
        contact_id,
        'used_feature' as step,
        first_used_at as first_at,
        last_used_at as last_at
    from usage_daily
    where
        uses > 0
        and feature <> 'app'
        and contact_id is not null

    union all

    select
        contact_id,
        'visited' as step,
        occurred_at as first_at,
        occurred_at as last_at
    from page_views
    where contact_id is not null

    union all

    select
        contact_id,
        'opened_ticket' as step,
        created_at as first_at,
        created_at as last_at
    from tickets
    where contact_id is not null

),

-- use is known by its first and last event of the day: the one that comes after the touch counts
next_steps as (

    select
        touches.touchpoint_id,
        steps.step,
        case when steps.first_at > touches.occurred_at then steps.first_at else steps.last_at end as happened_at
    from touches
    inner join steps
        on
            touches.contact_id = steps.contact_id
            and steps.last_at > touches.occurred_at
            and steps.first_at <= {{ dbt.dateadd(
                'day',
                'cast(' ~ threshold('next_step_days') ~ ' as integer)',
                'touches.occurred_at'
            ) }}

),

ranked_steps as (

    select
        next_steps.*,
        row_number() over (
            partition by touchpoint_id
            order by happened_at, step
        ) as step_rank
    from next_steps

),

final as (

    select
        ---------- ids
        touches.touchpoint_id,
        touches.customer_id,
        touches.contact_id,
        touches.owner_id,
        ---------- attributes
        touches.touchpoint_type,
        touches.channel,
        touches.direction,
        touches.is_commercial,
        touches.source_name,
        touches.topic,
        touches.reaction,
        -- as long as the days run, nothing is not yet nothing
        case
            when ranked_steps.step is not null then ranked_steps.step
            when touches.contact_id is not null and {{ dbt.dateadd(
                'day',
                'cast(' ~ threshold('next_step_days') ~ ' as integer)',
                'touches.occurred_at'
            ) }} <= {{ as_of_at() }} then 'nothing'
        end as next_step,
        ---------- timestamps
        touches.occurred_at,
        touches.reacted_at,
        ranked_steps.happened_at as next_step_at
    from touches
    left join ranked_steps
        on
            touches.touchpoint_id = ranked_steps.touchpoint_id
            and ranked_steps.step_rank = 1

)

select * from final
