-- An idea was built: tell everybody who voted for it, with how to use it.
-- One episode per idea and voter, on the day on which it was shipped first.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "idea_shipped",
}}) }}

with

ideas as (

    select * from {{ ref('stg_community__ideas') }}

),

status_changes as (

    select * from {{ ref('stg_community__idea_status_changes') }}

),

votes as (

    select * from {{ ref('stg_community__votes') }}

),

community_acts as (

    select * from {{ ref('int_community_acts__attributed') }}

),

features as (

    select * from {{ ref('features') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

shipped as (

    select
        idea_id,
        min(changed_at) as shipped_at
    from status_changes
    where status = 'shipped'
    group by idea_id

),

-- a vote taken back does not count
voters as (

    select
        votes.item_id as idea_id,
        community_acts.contact_id,
        community_acts.customer_id
    from votes
    inner join community_acts
        on community_acts.act_id = {{ dbt.concat(["'vote-'", 'votes.vote_id']) }}
    where votes.item_type = 'idea'
    group by
        votes.item_id,
        community_acts.contact_id,
        community_acts.customer_id
    having sum(votes.vote_value) > 0

),

opened as (

    select
        voters.customer_id,
        voters.contact_id,
        shipped.idea_id as subject,
        cast(shipped.shipped_at as date) as opened_date,
        ideas.title as idea_title,
        ideas.feature as idea_feature
    from shipped
    inner join ideas
        on shipped.idea_id = ideas.idea_id
    inner join voters
        on shipped.idea_id = voters.idea_id
    inner join customers
        on voters.customer_id = customers.customer_id
    where
        {{ is_candidate('cast(shipped.shipped_at as date)') }}
        and ideas.status = 'shipped'
        and customers.journey_stage <> 'churned'

),

identified as (

    select * from {{ episodes('idea_shipped', 'opened') }} as known_episodes

),

described as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.full_name as contact_name,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence(["'Voted for what is built now: '", 'identified.idea_title']) }} as reason,
        customers.customer_name,
        identified.idea_title,
        features.feature
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id
    left join features
        on identified.idea_feature = features.event

),

final as (

    select * from {{ advised('described', 'whats_new', ['feature']) }} as advised_rows

)

select * from final
