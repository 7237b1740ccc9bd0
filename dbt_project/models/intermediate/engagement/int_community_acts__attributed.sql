-- What contacts did in the community: posts, comments, answers that were accepted, votes.
with

posts as (

    select * from {{ ref('stg_community__posts') }}

),

post_comments as (

    select * from {{ ref('stg_community__post_comments') }}

),

votes as (

    select * from {{ ref('stg_community__votes') }}

),

community_users as (

    select * from {{ ref('stg_community__users') }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

-- also by an address that the person has left
addresses as (

    select
        email,
        min(contact_id) as contact_id
    from links
    where
        is_kept
        and record_kind <> 'cookie'
    group by email

),

acts as (

    select
        {{ dbt.concat(["'post-'", 'post_id']) }} as act_id,
        'post' as act,
        author_id,
        topic,
        created_at as acted_at
    from posts

    union all

    select
        {{ dbt.concat(["'comment-'", 'post_comments.post_comment_id']) }} as act_id,
        case when post_comments.is_accepted then 'accepted_answer' else 'comment' end as act,
        post_comments.author_id,
        posts.topic,
        post_comments.created_at as acted_at
    from post_comments
    left join posts
        on post_comments.post_id = posts.post_id

    union all

    select
        {{ dbt.concat(["'vote-'", 'vote_id']) }} as act_id,
        'vote' as act,
        community_user_id as author_id,
        cast(null as {{ dbt.type_string() }}) as topic,
        created_at as acted_at
    from votes

),

final as (

    select
        acts.act_id,
        acts.act,
        acts.topic,
        contacts.customer_id,
        contacts.contact_id,
        acts.acted_at,
        cast(acts.acted_at as date) as acted_date
    from acts
    inner join community_users
        on acts.author_id = community_users.community_user_id
    inner join addresses
        on community_users.email = addresses.email
    inner join contacts
        on addresses.contact_id = contacts.contact_id

)

select * from final
