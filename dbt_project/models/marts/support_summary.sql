-- How support went for each customer: what they asked, how fast they were answered, what is open, what they said of it.
-- Counts and times look at the tickets of the last 90 days; the backlog is what is open at the clock, however old.
with

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

ratings as (

    select * from {{ ref('int_satisfaction__answered') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

nps_answers as (

    select * from {{ ref('stg_surveys__nps_answers') }}

),

ces_answers as (

    select * from {{ ref('stg_surveys__ces_answers') }}

),

timed as (

    select
        tickets.*,
        created_date > {{ days_before(as_of_date(), 90) }} as is_recent,
        {{ days_between('created_date', as_of_date()) }} as days_open,
        {{ ratio(dbt.datediff('created_at', 'first_reply_at', 'minute'), 60) }} as first_reply_hours,
        {{ ratio(dbt.datediff('created_at', 'solved_at', 'minute'), 60) }} as resolution_hours
    from tickets

),

ticket_facts as (

    select
        customer_id,
        sum(case when is_recent then 1 else 0 end) as tickets_90d,
        sum(case when is_recent and kind = 'question' then 1 else 0 end) as questions_90d,
        sum(case when is_recent and kind = 'incident' then 1 else 0 end) as incidents_90d,
        sum(case when is_recent and kind = 'problem' then 1 else 0 end) as problems_90d,
        sum(case when is_recent and coalesce(kind, '') not in ('question', 'incident', 'problem') then 1 else 0 end)
            as other_tickets_90d,
        avg(case when is_recent then first_reply_hours end) as first_reply_hours,
        avg(case
            when is_recent and first_reply_hours <= {{ threshold('first_reply_target_hours') }} then 1.0
            when is_recent and first_reply_hours is not null then 0.0
        end) as first_reply_in_target_share,
        avg(case when is_recent then resolution_hours end) as resolution_hours,
        avg(case
            when is_recent and resolution_hours <= {{ threshold('resolution_target_hours') }} then 1.0
            when is_recent and resolution_hours is not null then 0.0
        end) as resolution_in_target_share,
        sum(case when is_recent then coalesce(reopenings, 0) else 0 end) as reopenings_90d,
        sum(case when is_open then 1 else 0 end) as open_tickets,
        sum(case when is_open and first_reply_at is null then 1 else 0 end) as unanswered_tickets,
        max(case when is_open then days_open end) as oldest_open_days,
        sum(case when is_recent and sentiment = 'negative' then 1 else 0 end) as negative_tickets_90d,
        sum(case when is_recent and sentiment is not null then 1 else 0 end) as tickets_with_sentiment_90d,
        max(created_at) as last_ticket_at
    from timed
    group by customer_id

),

csat as (

    select
        customer_id,
        count(*) as csat_answers_90d,
        avg(satisfaction) as csat_90d
    from ratings
    where answered_date > {{ days_before(as_of_date(), 90) }}
    group by customer_id

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

-- one person's answers follow each other; the customer's latest is the one to read first
nps as (

    select
        addresses.customer_id,
        nps_answers.score,
        nps_answers.answered_at,
        cast(nps_answers.answered_at as date) > {{ days_before(as_of_date(), 180) }} as is_recent,
        row_number() over (
            partition by addresses.customer_id
            order by nps_answers.answered_at desc, nps_answers.nps_answer_id desc
        ) as recency
    from nps_answers
    inner join addresses
        on nps_answers.email = addresses.email
    where nps_answers.score is not null

),

nps_facts as (

    select
        customer_id,
        max(case when recency = 1 then score end) as nps_latest,
        max(answered_at) as nps_latest_at,
        sum(case when is_recent and score >= 9 then 1 else 0 end) as nps_promoters_180d,
        sum(case when is_recent and score between 7 and 8 then 1 else 0 end) as nps_passives_180d,
        sum(case when is_recent and score <= 6 then 1 else 0 end) as nps_detractors_180d
    from nps
    group by customer_id

),

-- effort on one scale whichever way the form asked: 0 hard, 1 easy
ces as (

    select
        addresses.customer_id,
        count(ces_answers.score) as ces_answers_180d,
        avg(case
            when ces_answers.higher_is_better
                then {{ ratio('ces_answers.score - ces_answers.scale_min', 'ces_answers.scale_max - ces_answers.scale_min') }}
            else {{ ratio('ces_answers.scale_max - ces_answers.score', 'ces_answers.scale_max - ces_answers.scale_min') }}
        end) as ces_180d
    from ces_answers
    inner join addresses
        on ces_answers.email = addresses.email
    where cast(ces_answers.answered_at as date) > {{ days_before(as_of_date(), 180) }}
    group by addresses.customer_id

),

final as (

    select
        customers.customer_id,
        ---------- tickets of the last 90 days
        cast(coalesce(ticket_facts.tickets_90d, 0) as integer) as tickets_90d,
        cast(coalesce(ticket_facts.questions_90d, 0) as integer) as questions_90d,
        cast(coalesce(ticket_facts.incidents_90d, 0) as integer) as incidents_90d,
        cast(coalesce(ticket_facts.problems_90d, 0) as integer) as problems_90d,
        cast(coalesce(ticket_facts.other_tickets_90d, 0) as integer) as other_tickets_90d,
        cast(ticket_facts.first_reply_hours as decimal(18, 2)) as first_reply_hours_90d,
        cast(ticket_facts.first_reply_in_target_share as decimal(5, 4)) as first_reply_in_target_share_90d,
        cast(ticket_facts.resolution_hours as decimal(18, 2)) as resolution_hours_90d,
        cast(ticket_facts.resolution_in_target_share as decimal(5, 4)) as resolution_in_target_share_90d,
        cast(coalesce(ticket_facts.reopenings_90d, 0) as integer) as reopenings_90d,
        cast(case
            when ticket_facts.tickets_with_sentiment_90d > 0 then ticket_facts.negative_tickets_90d
        end as integer) as negative_tickets_90d,
        ---------- backlog at the clock
        cast(coalesce(ticket_facts.open_tickets, 0) as integer) as open_tickets,
        cast(coalesce(ticket_facts.unanswered_tickets, 0) as integer) as unanswered_tickets,
        cast(ticket_facts.oldest_open_days as integer) as oldest_open_days,
        ---------- what they said
        cast(csat.csat_90d as decimal(5, 4)) as csat_90d,
        cast(coalesce(csat.csat_answers_90d, 0) as integer) as csat_answers_90d,
        cast(ces.ces_180d as decimal(5, 4)) as ces_180d,
        cast(coalesce(ces.ces_answers_180d, 0) as integer) as ces_answers_180d,
        cast(nps_facts.nps_latest as integer) as nps_latest,
        cast(coalesce(nps_facts.nps_promoters_180d, 0) as integer) as nps_promoters_180d,
        cast(coalesce(nps_facts.nps_passives_180d, 0) as integer) as nps_passives_180d,
        cast(coalesce(nps_facts.nps_detractors_180d, 0) as integer) as nps_detractors_180d,
        ---------- timestamps
        nps_facts.nps_latest_at,
        ticket_facts.last_ticket_at
    from customers
    left join ticket_facts
        on customers.customer_id = ticket_facts.customer_id
    left join csat
        on customers.customer_id = csat.customer_id
    left join ces
        on customers.customer_id = ces.customer_id
    left join nps_facts
        on customers.customer_id = nps_facts.customer_id

)

select * from final
